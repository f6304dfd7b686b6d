#include <cmath>
#include <exception>
#include <glib.h>
#include <jansson.h>
#include <sstream>
#include <string>
#include <string_view>

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 1
#define TOML_ENABLE_WINDOWS_COMPAT 0
#include <toml++/toml.h>

extern "C" {
#include "base/error.h"
#include "base/limits.h"
}
#include "base/toml.h"

/* toml++ 3.3 bounds nested arrays and tables but not the depth of "a.a.a.…", and frees what it made recursively: so the
 * dots outside of strings are counted first. A configuration has a few. */
static constexpr gsize MAX_DOTS = 1000;

namespace
{

struct Refusal {
    GpErrorCode code;
    std::string text;
};

/* Where the string that begins at @at ends; up to three quotes open it. */
gsize skip_string(std::string_view text, gsize at)
{
    char quote = text[at];
    std::string triple(3, quote);
    bool several_lines = text.substr(at, 3) == triple;
    at += several_lines ? 3 : 1;
    while (at < text.size()) {
        if (quote == '"' && text[at] == '\\') {
            at += 2;
        } else if (several_lines && text.substr(at, 3) == triple) {
            at += 3;
            for (int i = 0; i < 2 && at < text.size() && text[at] == quote; i++)
                at++;
            return at;
        } else if (!several_lines && (text[at] == quote || text[at] == '\n')) {
            return at + 1;
        } else {
            at++;
        }
    }
    return at;
}

/* Up to the first error the parser sees the same strings and comments as this does, and at the first error it ends. */
gsize count_dots(std::string_view text)
{
    gsize dots = 0;
    for (gsize at = 0; at < text.size();) {
        if (text[at] == '"' || text[at] == '\'') {
            at = skip_string(text, at);
        } else if (text[at] == '#') {
            gsize end = text.find('\n', at);
            at = end == std::string_view::npos ? text.size() : end;
        } else {
            dots += text[at++] == '.';
        }
    }
    return dots;
}

json_t *to_string(std::string_view text)
{
    if (text.find('\0') != std::string_view::npos)
        throw Refusal{GP_ERROR_INVALID, "a NUL character inside a string"};
    json_t *value = json_stringn(text.data(), text.size());
    if (!value)
        throw Refusal{GP_ERROR_INVALID, "a string that is not UTF-8"};
    return value;
}

template <typename T> json_t *to_text(const T &value)
{
    std::ostringstream out;
    out << value;
    return to_string(out.str());
}

json_t *convert(const toml::node &node, guint depth);

/* Owns a JSON value while C++ may still throw. */
struct Holder {
    json_t *value;
    explicit Holder(json_t *given) : value(given)
    {
        if (!value)
            throw std::bad_alloc();
    }
    Holder(const Holder &) = delete;
    Holder &operator=(const Holder &) = delete;
    ~Holder()
    {
        json_decref(value);
    }
    json_t *take()
    {
        json_t *taken = value;
        value = nullptr;
        return taken;
    }
};

json_t *convert_table(const toml::table &table, guint depth)
{
    Holder object(json_object());
    for (auto &&[key, node] : table) {
        std::string name(key.str());
        if (name.find('\0') != std::string::npos)
            throw Refusal{GP_ERROR_INVALID, "a NUL character inside a key"};
        if (json_object_set_new(object.value, name.c_str(), convert(node, depth + 1)) < 0)
            throw Refusal{GP_ERROR_INVALID, "a key that is not UTF-8"};
    }
    return object.take();
}

json_t *convert_array(const toml::array &array, guint depth)
{
    Holder list(json_array());
    for (auto &&node : array)
        if (json_array_append_new(list.value, convert(node, depth + 1)) < 0)
            throw std::bad_alloc();
    return list.take();
}

json_t *convert(const toml::node &node, guint depth)
{
    if (depth > GP_LIMIT_JSON_DEPTH)
        throw Refusal{GP_ERROR_LIMIT, "nested more than " + std::to_string(GP_LIMIT_JSON_DEPTH) + " levels"};
    switch (node.type()) {
    case toml::node_type::table:
        return convert_table(*node.as_table(), depth);
    case toml::node_type::array:
        return convert_array(*node.as_array(), depth);
    case toml::node_type::string:
        return to_string(node.as_string()->get());
    case toml::node_type::integer:
        return Holder(json_integer(node.as_integer()->get())).take();
    case toml::node_type::boolean:
        return Holder(json_boolean(node.as_boolean()->get())).take();
    case toml::node_type::floating_point:
        if (std::isfinite(node.as_floating_point()->get()))
            return Holder(json_real(node.as_floating_point()->get())).take();
        return to_text(node.as_floating_point()->get());
    case toml::node_type::date:
        return to_text(node.as_date()->get());
    case toml::node_type::time:
        return to_text(node.as_time()->get());
    case toml::node_type::date_time:
        return to_text(node.as_date_time()->get());
    case toml::node_type::none:
        break;
    }
    throw Refusal{GP_ERROR_INTERNAL, "a value of no type"};
}

json_t *parse(std::string_view text)
{
    if (count_dots(text) > MAX_DOTS)
        throw Refusal{GP_ERROR_LIMIT, "more than " + std::to_string(MAX_DOTS) + " dots outside of strings"};
    toml::table table = toml::parse(text);
    return convert_table(table, 1);
}

} // namespace

/* Nothing that is thrown leaves this function. */
json_t *gp_toml_parse(const void *data, gsize length, gsize max_size, const char *what, GError **error)
{
    if (length > max_size) {
        g_set_error(error, GP_ERROR, GP_ERROR_LIMIT,
            "%s: %" G_GSIZE_FORMAT " bytes, at most %" G_GSIZE_FORMAT " are allowed", what, length, max_size);
        return nullptr;
    }
    try {
        return parse(std::string_view(length ? static_cast<const char *>(data) : "", length));
    } catch (const toml::parse_error &problem) {
        std::string_view text = problem.description();
        g_autofree char *shown = gp_escape(text.data(), (gssize) text.size(), 300);
        g_set_error(error, GP_ERROR, GP_ERROR_INVALID, "%s: line %u: %s", what, problem.source().begin.line, shown);
    } catch (const Refusal &problem) {
        g_set_error(error, GP_ERROR, problem.code, "%s: %s", what, problem.text.c_str());
    } catch (const std::exception &problem) {
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "%s: %s", what, problem.what());
    } catch (...) {
        g_set_error(error, GP_ERROR, GP_ERROR_INTERNAL, "%s: cannot be read", what);
    }
    return nullptr;
}
