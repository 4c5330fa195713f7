# Turns a header's comments into what Doxygen reads, for docs/Doxyfile: the `//` block at the head of a file becomes the
# file's description, a `//` behind a declaration that of the declaration, and indented lines of a comment (formulas)
# stay as they are. The same of the blocks of a header in C. Code is passed on.

function escaped(text) {
    gsub(/\\/, "\\\\\\\\", text)
    gsub(/</, "\\&lt;", text)
    gsub(/#/, "\\#", text)
    return text
}

# One line of a comment block; `text` is what stands behind the slashes.
function block_line(text) {
    if (!inside) print "/**" (head ? " @file" : "")
    inside = 1
    if (text ~ /^ *$/) {
        empty_lines = empty_lines "\n"
        return
    }
    is_formula = text ~ /^   +[^ ]/
    if (formula && !is_formula) print "@endverbatim"
    printf "%s", empty_lines
    empty_lines = ""
    if (is_formula && !formula) print "\n@verbatim"
    formula = is_formula
    print formula ? substr(text, 4) : escaped(text)
}

function end_block() {
    if (formula) print "@endverbatim"
    if (inside) print "*/"
    formula = inside = 0
    empty_lines = ""
}

FNR == 1 { head = /^\/[\/*]/ }

head && /^\/\// {
    block_line(substr($0, 3))
    next
}

/^ *\/\*/ { in_c = 1 }

in_c {
    text = $0
    sub(/^ *\/?\* ?/, "", text)
    in_c = !sub(/ *\*?\/$/, "", text)
    block_line(text)
    behind = 0
    next
}

/^ *\/\/\// {
    text = $0
    sub(/^ *\/\/\//, "", text)
    block_line(text)
    behind = 0
    next
}

{
    end_block()
    head = 0
}

# The second line of a comment behind a declaration.
behind && match($0, /^ *\/\/ /) && RLENGTH >= behind {
    print substr($0, 1, RLENGTH - 3) "///< " escaped(substr($0, RLENGTH + 1))
    next
}

!/^ *[}\/#]/ && match($0, /[;,a-z0-9] +\/\/ /) {
    behind = RSTART + RLENGTH - 2
    print substr($0, 1, RSTART + RLENGTH - 4) "///< " escaped(substr($0, RSTART + RLENGTH))
    next
}

{
    behind = 0
    print
}
