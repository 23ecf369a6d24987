/* SPDX-License-Identifier: MIT */
/*
 * plugin_call - one call of a plugin's task: poold/task.h on the one side, workers/task.h on
 * the other.
 *
 * Costs a call of a task on text nothing per item but going through a table of functions:
 * no allocation, no system call. Scratch memory comes from a block that is kept.
 */
#ifndef WORKERS_PLUGIN_CALL_H
#define WORKERS_PLUGIN_CALL_H

#include "workers/task.h"

/* Runs the struct poold_task that call->task->data is. */
void plugin_call_run(struct task_call *call);
void plugin_call_value(struct task_call *call);

#endif
