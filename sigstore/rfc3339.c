#include "sigstore/rfc3339.h"

#include <time.h>

/* @count digits at *@at, which moves on; -1 if there are not so many. */
static int digits(const char **at, int count)
{
    int value = 0;
    for (int i = 0; i < count; i++, (*at)++) {
        if (!g_ascii_isdigit(**at))
            return -1;
        value = value * 10 + (**at - '0');
    }
    return value;
}

static gboolean literal(const char **at, char expected)
{
    if (g_ascii_toupper(**at) != expected)
        return FALSE;
    (*at)++;
    return TRUE;
}

static gboolean parse_offset(const char **at, int *seconds)
{
    *seconds = 0;
    if (literal(at, 'Z'))
        return TRUE;
    int sign = **at == '-' ? -1 : 1;
    if (**at != '+' && **at != '-')
        return FALSE;
    (*at)++;
    int hours = digits(at, 2);
    int minutes = hours >= 0 && literal(at, ':') ? digits(at, 2) : -1;
    *seconds = sign * (hours * 3600 + minutes * 60);
    return hours >= 0 && hours <= 23 && minutes >= 0 && minutes <= 59;
}

static gboolean is_day(int year, int month, int day)
{
    return year >= 1 && month >= 1 && month <= 12 && day >= 1 &&
           g_date_valid_dmy((GDateDay) day, (GDateMonth) month, (GDateYear) year);
}

gboolean gp_rfc3339_parse(const char *text, gint64 *seconds)
{
    const char *at = text;
    int offset;
    int year = digits(&at, 4);
    int month = year >= 0 && literal(&at, '-') ? digits(&at, 2) : -1;
    int day = month >= 0 && literal(&at, '-') ? digits(&at, 2) : -1;
    int hour = day >= 0 && literal(&at, 'T') ? digits(&at, 2) : -1;
    int minute = hour >= 0 && literal(&at, ':') ? digits(&at, 2) : -1;
    int second = minute >= 0 && literal(&at, ':') ? digits(&at, 2) : -1;
    if (second < 0 || !is_day(year, month, day) || hour > 23 || minute > 59 || second > 60)
        return FALSE;
    if (*at == '.') {
        at++;
        if (!g_ascii_isdigit(*at))
            return FALSE;
        while (g_ascii_isdigit(*at))
            at++;
    }
    if (!parse_offset(&at, &offset) || *at)
        return FALSE;
    struct tm tm = {.tm_year = year - 1900,
        .tm_mon = month - 1,
        .tm_mday = day,
        .tm_hour = hour,
        .tm_min = minute,
        .tm_sec = second};
    *seconds = (gint64) timegm(&tm) - offset;
    return TRUE;
}
