#include "data/npy_header.h"

#include <charconv>
#include <set>

#include "engine/error.h"
#include "engine/input_file.h"

namespace qstep {

namespace {

// As many as NumPy allows.
constexpr std::size_t kMostAxes = 64;

template <typename... Args>
[[noreturn]] void malformed(fmt::format_string<Args...> format, Args&&... args) {
    throw NpyProblem{fmt::format(format, std::forward<Args>(args)...)};
}

// Goes through the text once, from front to back; nothing nests deeper than a tuple in the dictionary.
class Parser {
  public:
    explicit Parser(std::string_view text) : rest_(text) {}

    NpyHeader header() {
        expect('{');
        std::set<std::string> keys;
        while (!next_is('}')) {
            const std::string key = string();
            if (!keys.insert(key).second) malformed("its header has '{}' twice", shown(key));
            expect(':');
            value(key);
            if (!next_is(',')) {
                expect('}');
                break;
            }
        }
        skip_space();
        if (!rest_.empty()) malformed("something follows the dictionary in its header");
        for (const char* key : {"descr", "fortran_order", "shape"})
            if (!keys.contains(key)) malformed("its header has no '{}'", key);
        return std::move(header_);
    }

  private:
    void skip_space() {
        while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\n' || rest_[0] == '\t'))
            rest_.remove_prefix(1);
    }
    bool next_is(char c) {
        skip_space();
        if (rest_.empty() || rest_[0] != c) return false;
        rest_.remove_prefix(1);
        return true;
    }
    void expect(char c) {
        if (!next_is(c))
            malformed("its header is damaged: '{}' expected before '{}'", c, shown(std::string(rest_)));
    }
    bool next_is_word(std::string_view word) {
        skip_space();
        if (!rest_.starts_with(word)) return false;
        rest_.remove_prefix(word.size());
        return true;
    }
    std::string string() {
        const char quote = next_is('"') ? '"' : '\'';
        if (quote == '\'') expect('\'');
        const std::size_t end = rest_.find(quote);
        if (end == std::string_view::npos) malformed("its header is damaged: a text without an end");
        const std::string text(rest_.substr(0, end));
        rest_.remove_prefix(end + 1);
        return text;
    }
    void value(const std::string& key) {
        if (key == "descr") {
            if (next_is('[')) malformed("its elements are records, not float32");
            header_.type = string();
        } else if (key == "fortran_order") {
            header_.fortran_order = next_is_word("True");
            if (!header_.fortran_order && !next_is_word("False"))
                malformed("its 'fortran_order' is neither True nor False");
        } else if (key == "shape") {
            shape();
        } else {
            malformed("its header has the unknown key '{}'", shown(key));
        }
    }
    void shape() {
        expect('(');
        bool comma = true;
        while (!next_is(')')) {
            if (!comma || header_.shape.size() == kMostAxes)
                malformed("its shape is no tuple of at most {} extents", kMostAxes);
            header_.shape.push_back(extent());
            comma = next_is(',');
        }
        // (5) is a number in Python and (5,) a tuple.
        if (header_.shape.size() == 1 && !comma)
            malformed("its shape is no tuple of at most {} extents", kMostAxes);
    }
    std::int64_t extent() {
        skip_space();
        std::int64_t value = 0;
        const char* end = rest_.data() + rest_.size();
        const auto [stopped, status] = std::from_chars(rest_.data(), end, value);
        if (status != std::errc() || value < 0)
            malformed("its shape holds something else than whole numbers");
        rest_.remove_prefix(static_cast<std::size_t>(stopped - rest_.data()));
        next_is_word("L");  // how Python 2 wrote its long integers
        return value;
    }

    std::string_view rest_;
    NpyHeader header_;
};

}  // namespace

NpyHeader parse_npy_header(std::string_view text) {
    return Parser(text).header();
}

}  // namespace qstep
