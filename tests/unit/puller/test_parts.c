/* When a blob counts as slow, and which answers are the part that was asked for. */

#include "base/error.h"
#include "base/limits.h"
#include "puller/worker_answer.h"
#include "puller/worker_parts.h"

#define SECOND G_USEC_PER_SEC

static void test_pace(void)
{
    GpPace pace = {0};
    gint64 now = 1000 * SECOND;
    guint64 bytes = 5 * GP_MIB;
    g_assert_false(gp_pace_is_slow(&pace, now, bytes, TRUE)); /* the first look */
    g_assert_false(gp_pace_is_slow(&pace, now + SECOND, bytes + 1, TRUE));
    g_assert_true(gp_pace_is_slow(&pace, now += 2 * SECOND, bytes += 1, TRUE));
    /* Each judgement looks at the time since the last one. */
    g_assert_false(gp_pace_is_slow(&pace, now + SECOND, bytes + 2, TRUE));
    g_assert_false(gp_pace_is_slow(&pace, now += 2 * SECOND, bytes += 2 * GP_MIB, TRUE));
    g_assert_true(gp_pace_is_slow(&pace, now += 2 * SECOND, bytes += 2 * GP_MIB - 1, TRUE));
    /* Nothing at all is not slow but a stall, which more connections do not mend. */
    g_assert_false(gp_pace_is_slow(&pace, now += 2 * SECOND, bytes, TRUE));
    /* What does not count begins anew. */
    g_assert_false(gp_pace_is_slow(&pace, now + SECOND, bytes + 1, FALSE));
    g_assert_false(gp_pace_is_slow(&pace, now += 2 * SECOND, bytes + 2, TRUE));
    g_assert_true(gp_pace_is_slow(&pace, now + 2 * SECOND, bytes + 3, TRUE));
}

static void test_answers(void)
{
    /* Bytes 100 to 149 of 1000. */
    const GpAnswerPlan plan = {.is_blob = TRUE, .size = 1000, .range_start = 100, .range_length = 50};
    static const struct {
        const char *range;
        guint64 length; /* announced; 0: not */
        gboolean right;
    } rows[] = {
        {"bytes 100-149/1000", 50, TRUE},
        {"bytes 100-149/1000", 0, TRUE},
        {"bytes 100-149/1000", 900, FALSE},
        {"bytes 100-999/1000", 900, FALSE},
        {"bytes 100-148/1000", 49, FALSE},
        {"bytes 100-150/1000", 51, FALSE},
        {"bytes 101-150/1000", 50, FALSE},
        {"bytes 0-49/1000", 50, FALSE},
        {"bytes 100-149/1001", 50, FALSE},
        {"bytes 100-149/*", 50, FALSE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *range = g_strdup(rows[i].range);
        const GpAnswer answer = {
            .status = 206, .content_range = range, .has_length = rows[i].length > 0, .length = rows[i].length};
        g_autoptr(GError) error = NULL;
        g_assert_cmpint(gp_answer_check(&answer, &plan, &error), ==, rows[i].right);
        g_assert_true(rows[i].right || g_error_matches(error, GP_ERROR, GP_ERROR_INVALID));
    }
}

static void test_backoff(void)
{
    guint before = 0;
    for (guint tries = 1; tries < 8; tries++) {
        for (guint i = 0; i < 100; i++) {
            guint wait = gp_backoff_ms(tries);
            g_assert_cmpuint(wait, >=, 125U << (tries - 1));
            g_assert_cmpuint(wait, <=, 375U << (tries - 1));
            before = wait;
        }
    }
    g_assert_cmpuint(before, >, 1000);
    g_assert_cmpuint(gp_backoff_ms(1000), <, 3600 * 1000); /* and never runs over */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/parts/pace", test_pace);
    g_test_add_func("/parts/answers", test_answers);
    g_test_add_func("/parts/backoff", test_backoff);
    return g_test_run();
}
