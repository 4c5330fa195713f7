// A self-contained page: its frame and style, texts and tables in it. Nothing in it reaches for the network,
// and browsers are told to refuse it if something did.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace qstep {

/// Text as it may stand in an element or a quoted attribute; control characters become spaces.
std::string escaped(std::string_view text);

/// The whole page; `kind`, a word, and title are text, body HTML. Light or dark as the reader's system is.
std::string html_page(std::string_view kind, std::string_view title, const std::string& body);

/// What a file begins with that html_page() made of this kind.
std::string html_page_start(std::string_view kind);

/// <section> with a heading (text) and content (HTML).
std::string html_section(std::string_view heading, const std::string& content);

/// Cells are texts; the first column holds the names of the rows and stands left, the others right where
/// `numbers`. Rows as long as the header; an empty header means none.
std::string html_table(const std::vector<std::string>& header,
                       const std::vector<std::vector<std::string>>& rows, bool numbers);

/// A row of large numbers with what they are below; both are texts.
struct Tile {
    std::string value, label;
};
/// The row.
std::string html_tiles(const std::vector<Tile>& tiles);

}  // namespace qstep
