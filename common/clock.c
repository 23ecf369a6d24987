/* SPDX-License-Identifier: MIT */
#include "common/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#define MS_PER_SEC  1000
#define SEC_PER_DAY 86400

/* 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z */
#define WALL_MS_MIN (-62167219200000)
#define WALL_MS_MAX 253402300799999

static _Atomic uint64_t fake_mono_ns; /* 0: the real clocks */
static _Atomic int64_t fake_wall_ms;

uint64_t clock_mono_ns(void)
{
    uint64_t fake = atomic_load_explicit(&fake_mono_ns, memory_order_acquire);
    struct timespec now;

    if (fake)
        return fake;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

int64_t clock_wall_ms(void)
{
    struct timespec now;

    if (atomic_load_explicit(&fake_mono_ns, memory_order_acquire))
        return atomic_load_explicit(&fake_wall_ms, memory_order_relaxed);
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * MS_PER_SEC + now.tv_nsec / (long)NS_PER_MS;
}

static int64_t believed_ms;
static uint64_t believed_mono_ns; /* when it was that; 0: never */

void clock_believe(void)
{
    believed_ms = clock_wall_ms();
    believed_mono_ns = clock_mono_ns();
}

int64_t clock_believed_ms(void)
{
    int64_t wall_ms = clock_wall_ms(), latest_ms;
    uint64_t elapsed_ms;

    if (!believed_mono_ns)
        clock_believe();
    elapsed_ms = (clock_mono_ns() - believed_mono_ns) / NS_PER_MS;
    latest_ms = believed_ms + 2 * (int64_t)elapsed_ms;
    believed_ms = wall_ms < latest_ms ? wall_ms : latest_ms;
    believed_mono_ns += elapsed_ms * NS_PER_MS; /* what is finer counts the next time */
    return believed_ms;
}

void clock_fake(uint64_t mono_ns, int64_t wall_ms)
{
    atomic_store_explicit(&fake_wall_ms, wall_ms, memory_order_relaxed);
    atomic_store_explicit(&fake_mono_ns, mono_ns, memory_order_release);
}

struct date {
    int year, month, day; /* 0..9999, 1..12, 1..31 */
};

/*
 * Days since 1970-01-01 in the proleptic Gregorian calendar, and back. Both count in
 * years that begin in March: the leap day is then the last day of its year, and the
 * lengths of the months from March on (31 30 31 30 31, 31 30 31 30 31, 31 ..) follow the
 * line (153 * month + 2) / 5. The C library's functions are avoided: mktime follows TZ,
 * and gmtime_r has no portable way back.
 */
#define DAYS_PER_400Y      146097
#define DAYS_0000_TO_EPOCH 719468 /* from 0000-03-01 to 1970-01-01 */

static int64_t days_from_date(struct date date)
{
    int year = date.month > 2 ? date.year : date.year - 1;
    int month = (date.month + 9) % 12; /* March is 0 */
    int64_t leap_days = year >= 0 ? year / 4 - year / 100 + year / 400 : -1;

    /* Below 0 there is only year -1, for January and February of year 0. It is a leap
     * year: 366 days before 0000-03-01. */
    return (int64_t)year * 365 + leap_days + (153 * month + 2) / 5 + date.day - 1 -
           DAYS_0000_TO_EPOCH;
}

static struct date date_from_days(int64_t days)
{
    /* One period up keeps January and February of year 0 positive. */
    int64_t n = days + DAYS_0000_TO_EPOCH + DAYS_PER_400Y;
    int period = (int)(n / DAYS_PER_400Y);
    int day = (int)(n % DAYS_PER_400Y);
    int year = (day - day / 1460 + day / 36524 - day / 146096) / 365; /* in the period */
    int yday = day - (365 * year + year / 4 - year / 100);
    int month = (5 * yday + 2) / 153; /* March is 0 */
    struct date date;

    date.day = yday - (153 * month + 2) / 5 + 1;
    date.month = month < 10 ? month + 3 : month - 9;
    date.year = year + (period - 1) * 400 + (date.month <= 2);
    return date;
}

static void put_digits(char *at, int n, int width)
{
    while (width-- > 0) {
        at[width] = (char)('0' + n % 10);
        n /= 10;
    }
}

void clock_format(int64_t wall_ms, char ret_text[CLOCK_TEXT_LEN + 1])
{
    static const char form[CLOCK_TEXT_LEN + 1] = "....-..-..T..:..:......Z";
    const int64_t ms_per_day = (int64_t)SEC_PER_DAY * MS_PER_SEC;
    int64_t days, ms;
    struct date date;

    if (wall_ms < WALL_MS_MIN)
        wall_ms = WALL_MS_MIN;
    if (wall_ms > WALL_MS_MAX)
        wall_ms = WALL_MS_MAX;
    days = wall_ms / ms_per_day;
    ms = wall_ms % ms_per_day;
    if (ms < 0) {
        ms += ms_per_day;
        days--;
    }
    date = date_from_days(days);
    for (int i = 0; i <= CLOCK_TEXT_LEN; i++)
        ret_text[i] = form[i];
    put_digits(ret_text, date.year, 4);
    put_digits(ret_text + 5, date.month, 2);
    put_digits(ret_text + 8, date.day, 2);
    put_digits(ret_text + 11, (int)(ms / 3600000), 2);
    put_digits(ret_text + 14, (int)(ms / 60000 % 60), 2);
    put_digits(ret_text + 17, (int)(ms / 1000 % 60), 2);
    put_digits(ret_text + 20, (int)(ms % 1000), 3);
}

/* What is left of the text to read. */
struct cursor {
    const char *at, *end;
};

static bool read_digits(struct cursor *cur, int width, int *ret_n)
{
    int n = 0;

    if (cur->end - cur->at < width)
        return false;
    for (int i = 0; i < width; i++) {
        char c = *cur->at++;

        if (c < '0' || c > '9')
            return false;
        n = n * 10 + (c - '0');
    }
    *ret_n = n;
    return true;
}

/* One of the two characters, which RFC 3339 needs for "T" and "t". */
static bool read_char(struct cursor *cur, char c, char or_c)
{
    if (cur->at == cur->end || (*cur->at != c && *cur->at != or_c))
        return false;
    cur->at++;
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return month == 2 && leap ? 29 : days[month - 1];
}

static bool read_date(struct cursor *cur, int64_t *ret_days)
{
    struct date date;

    if (!read_digits(cur, 4, &date.year) || !read_char(cur, '-', '-') ||
        !read_digits(cur, 2, &date.month) || !read_char(cur, '-', '-') ||
        !read_digits(cur, 2, &date.day))
        return false;
    if (date.month < 1 || date.month > 12 || date.day < 1 ||
        date.day > days_in_month(date.year, date.month))
        return false;
    *ret_days = days_from_date(date);
    return true;
}

/* "." and 1 to 9 digits, or nothing. What is finer than a millisecond is cut off. */
static bool read_fraction_ms(struct cursor *cur, int *ret_ms)
{
    int ms = 0, digits = 0;

    *ret_ms = 0;
    if (!read_char(cur, '.', '.'))
        return true;
    for (; cur->at < cur->end && *cur->at >= '0' && *cur->at <= '9';
         cur->at++, digits++) {
        if (digits < 3)
            ms = ms * 10 + (*cur->at - '0');
    }
    for (int i = digits; i < 3; i++)
        ms *= 10;
    *ret_ms = ms;
    return digits >= 1 && digits <= 9;
}

static bool read_time_ms(struct cursor *cur, int64_t *ret_ms)
{
    int hour, minute, second, ms;

    if (!read_digits(cur, 2, &hour) || !read_char(cur, ':', ':') ||
        !read_digits(cur, 2, &minute) || !read_char(cur, ':', ':') ||
        !read_digits(cur, 2, &second) || !read_fraction_ms(cur, &ms))
        return false;
    if (hour > 23 || minute > 59 || second > 60)
        return false;
    /* Our time scale has no leap seconds: all of one is the start of the next minute. */
    if (second == 60)
        ms = 0;
    *ret_ms = (((int64_t)hour * 60 + minute) * 60 + second) * MS_PER_SEC + ms;
    return true;
}

static bool read_offset_min(struct cursor *cur, int *ret_min)
{
    int sign, hours, minutes;

    *ret_min = 0;
    if (read_char(cur, 'Z', 'z'))
        return true;
    if (!read_char(cur, '+', '-'))
        return false;
    sign = cur->at[-1] == '-' ? -1 : 1;
    if (!read_digits(cur, 2, &hours) || !read_char(cur, ':', ':') ||
        !read_digits(cur, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *ret_min = sign * (hours * 60 + minutes);
    return true;
}

enum status clock_parse(const char *text, size_t len, int64_t *ret_wall_ms)
{
    struct cursor cur = { text, text + len };
    int64_t days, ms;
    int offset_min;

    if (!read_date(&cur, &days) || !read_char(&cur, 'T', 't') ||
        !read_time_ms(&cur, &ms) || !read_offset_min(&cur, &offset_min) ||
        cur.at != cur.end)
        return ST_INVALID;
    *ret_wall_ms =
        days * SEC_PER_DAY * MS_PER_SEC + ms - (int64_t)offset_min * 60 * MS_PER_SEC;
    return ST_OK;
}
