#include "train/report/html_page.h"

#include <fmt/format.h>

namespace qstep {

namespace {

// --c0 .. --c7: colours of curves. Each has a contrast of at least 4.5 to its background, and neighbours
// differ in lightness or hue for every kind of colour vision; markers and dashes tell curves apart besides.
constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--back:#f6f7f9;--card:#fff;--text:#1b2430;--dim:#5a6675;--line:#dde2e8;--grid:#e8ebf0;
--c0:#0a68b5;--c1:#c2410c;--c2:#00765b;--c3:#a2338c;--c4:#7f6000;--c5:#4b5563;--c6:#0e7490;--c7:#6d28d9}
@media(prefers-color-scheme:dark){:root{--back:#11161d;--card:#19202a;--text:#e6ebf2;--dim:#9dabbc;--line:#2c3643;
--grid:#27303c;--c0:#62b5f5;--c1:#ff8f5f;--c2:#4cd4a6;--c3:#f190da;--c4:#e2c152;--c5:#b8c4d1;--c6:#59d4e8;--c7:#b79fff}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:15px/1.5 system-ui,"Segoe UI",Roboto,"Helvetica Neue",
"Noto Sans","DejaVu Sans",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 48px}
h1{font-size:26px;line-height:1.25;margin:0;overflow-wrap:anywhere}
.sub{color:var(--dim);margin:4px 0 20px;overflow-wrap:anywhere}
.failure{background:var(--card);border:1px solid var(--line);border-left:5px solid var(--c1);border-radius:6px;
margin:0 0 20px;padding:10px 16px;overflow-wrap:anywhere}
h2{font-size:17px;margin:0 0 10px}
section,figure{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px;margin:0}
section{margin-top:16px;overflow-x:auto}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr));gap:16px;margin-top:16px}
.charts figure.wide{grid-column:1/-1}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 16px}
.tiles b{display:block;font-size:22px;font-weight:650;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.tiles span{color:var(--dim);font-size:13px}
figcaption{font-size:17px;font-weight:650}
.note{color:var(--dim);font-size:13px;margin:2px 0 0}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:6px 0 2px;padding:0;list-style:none;font-size:13px}
.legend li{display:flex;align-items:center;gap:7px;overflow-wrap:anywhere}
.legend svg{flex:none}
.legend b{font-variant-numeric:tabular-nums;white-space:nowrap}
svg.chart{display:block;width:100%;height:auto;margin-top:6px}
.wide{overflow-x:auto}
.wide svg.chart{min-width:680px}
svg text{fill:var(--dim);font-size:12.5px;font-family:inherit}
.grid{stroke:var(--grid);stroke-width:1}
.axis{stroke:var(--dim);stroke-width:1}
.curve{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.area{fill-opacity:.22;stroke:none}
.mark{stroke:var(--card);stroke-width:1}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--line);vertical-align:top;
overflow-wrap:anywhere;min-width:4em}
th{font-weight:600}
thead th{color:var(--dim);font-size:13px;vertical-align:bottom}
tr:last-child>*{border-bottom:0}
.numbers td,.numbers thead th+th{text-align:right;font-variant-numeric:tabular-nums;padding:5px 0 5px 14px;
overflow-wrap:normal}
.numbers td{white-space:nowrap}
.numbers tbody th{overflow-wrap:normal;min-width:8em}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:16px}
.pair th{width:36%}
summary{cursor:pointer;font-weight:650;font-size:17px}
@media(max-width:720px){.wide svg.chart text{font-size:17px}}
@media(max-width:560px){main{padding:20px 12px 32px}section,figure{padding:14px 12px}figure{overflow-x:auto}
svg.chart{min-width:330px}figure:not(.wide) svg.chart text{font-size:15px}}
)";

}  // namespace

std::string html_page_start(std::string_view kind) {
    return fmt::format("<!doctype html>\n<!-- qstep: {} -->\n", kind);
}

std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            case '\'':
                out += "&#39;";
                break;
            default:
                out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
        }
    return out;
}

std::string html_page(std::string_view kind, std::string_view title, const std::string& body) {
    return fmt::format(
        "{}<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
        "'unsafe-inline'\">\n"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>{}</title>\n"
        "<style>{}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
        html_page_start(kind), escaped(title), kStyle, body);
}

std::string html_section(std::string_view heading, const std::string& content) {
    return fmt::format("<section>\n<h2>{}</h2>\n{}</section>\n", escaped(heading), content);
}

std::string html_table(const std::vector<std::string>& header,
                       const std::vector<std::vector<std::string>>& rows, bool numbers) {
    std::string out = numbers ? "<table class=\"numbers\">\n" : "<table>\n";
    if (!header.empty()) {
        out += "<thead><tr>";
        for (const std::string& cell : header) out += "<th scope=\"col\">" + escaped(cell) + "</th>";
        out += "</tr></thead>\n";
    }
    out += "<tbody>\n";
    for (const auto& row : rows) {
        out += "<tr><th scope=\"row\">" + escaped(row.front()) + "</th>";
        for (std::size_t i = 1; i < row.size(); ++i) out += "<td>" + escaped(row[i]) + "</td>";
        out += "</tr>\n";
    }
    return out + "</tbody>\n</table>\n";
}

std::string html_tiles(const std::vector<Tile>& tiles) {
    std::string out = "<div class=\"tiles\">\n";
    for (const Tile& tile : tiles)
        out += "<div><b>" + escaped(tile.value) + "</b><span>" + escaped(tile.label) + "</span></div>\n";
    return out + "</div>\n";
}

}  // namespace qstep
