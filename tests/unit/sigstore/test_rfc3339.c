/* Times of trusted roots (RFC 3339). */
#include "sigstore/rfc3339.h"

static void test_good(void)
{
    static const struct {
        const char *text;
        gint64 seconds;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2021-01-12T11:53:27Z", 1610452407},
        {"2021-01-12T11:53:27.000Z", 1610452407},
        {"2021-01-12T11:53:27.999999999Z", 1610452407},
        {"2021-01-12t11:53:27z", 1610452407},
        {"2021-01-12T12:53:27+01:00", 1610452407},
        {"2021-01-12T06:23:27-05:30", 1610452407},
        {"2024-02-29T23:59:59Z", 1709251199},
        {"1969-12-31T23:59:59Z", -1},
        {"9999-12-31T23:59:59Z", 253402300799},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        gint64 seconds;
        g_assert_true(gp_rfc3339_parse(rows[i].text, &seconds));
        g_assert_cmpint(seconds, ==, rows[i].seconds);
    }
}

static void test_bad(void)
{
    static const char *const rows[] = {"", "yesterday", "2021-01-12", "2021-01-12 11:53:27Z", "2021-01-12T11:53:27",
        "2021-01-12T11:53Z", "2021-13-01T00:00:00Z", "2021-00-01T00:00:00Z", "2021-02-29T00:00:00Z",
        "2021-01-32T00:00:00Z", "2021-01-12T24:00:00Z", "2021-01-12T11:60:00Z", "2021-01-12T11:53:61Z",
        "2021-01-12T11:53:27.Z", "2021-01-12T11:53:27+1:00", "2021-01-12T11:53:27+24:00", "2021-01-12T11:53:27+01:60",
        "2021-01-12T11:53:27Zx", "2021-01-12T11:53:27ZZ", "+2021-01-12T11:53:27Z", "21-01-12T11:53:27Z",
        "0000-01-01T00:00:00Z", "2021-1-12T11:53:27Z"};
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        gint64 seconds;
        if (gp_rfc3339_parse(rows[i], &seconds))
            g_error("\"%s\" was taken", rows[i]);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rfc3339/good", test_good);
    g_test_add_func("/rfc3339/bad", test_bad);
    return g_test_run();
}
