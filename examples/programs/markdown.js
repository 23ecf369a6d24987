#!/usr/bin/env node
// SPDX-License-Identifier: MIT
//
// A persistent program for poold: reads a line of JSON per call, writes a line of JSON per answer.
// Nothing but Node. Whatever is meant for people goes to standard error: standard output
// belongs to the protocol.
'use strict';

const readline = require('node:readline');

const escape = (text) =>
    text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;')
        .replace(/"/g, '&quot;');

const inline = (text) =>
    escape(text)
        .replace(/`([^`]+)`/g, '<code>$1</code>')
        .replace(/\*\*([^*]+)\*\*/g, '<strong>$1</strong>')
        .replace(/\*([^*]+)\*/g, '<em>$1</em>')
        .replace(/\[([^\]]+)\]\((https?:[^)\s]+)\)/g, '<a href="$2">$1</a>');

const block = (text) => {
    const heading = /^(#{1,6}) +(.*)$/.exec(text);
    if (heading) {
        return `<h${heading[1].length}>${inline(heading[2])}</h${heading[1].length}>`;
    }
    const lines = text.split('\n');
    if (lines.every((line) => /^[-*] /.test(line))) {
        return '<ul>' + lines.map((line) => `<li>${inline(line.slice(2))}</li>`).join('') + '</ul>';
    }
    return `<p>${inline(text)}</p>`;
};

function markdown(text) {
    if (typeof text !== 'string') {
        throw new TypeError(`markdown() takes a text, not ${JSON.stringify(text)}`);
    }
    return text.trim().split(/\n{2,}/).filter((part) => part).map(block).join('\n');
}

const answer = (object) => process.stdout.write(JSON.stringify(object) + '\n');

readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const { id, args, kwargs } = JSON.parse(line);
    try {
        answer({ id, result: markdown(kwargs.text ?? args[0]) });
    } catch (error) {
        answer({ id, error: { type: error.name, message: error.message, traceback: error.stack } });
    }
});
