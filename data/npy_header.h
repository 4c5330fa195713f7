// The dictionary at the head of an .npy file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qstep {

/// What the dictionary says, checked for its form alone.
struct NpyHeader {
    std::string type;  // 'descr', as in the file
    bool fortran_order = false;
    std::vector<std::int64_t> shape;
};

/// What is wrong with the content of a file, as the end of a sentence that begins with its name.
struct NpyProblem {
    std::string reason;
};

/// Reads a dictionary of exactly the keys 'descr' (a string), 'fortran_order' (True or False) and 'shape' (a
/// tuple of whole numbers), in any order, with nothing but white space behind it. Throws NpyProblem for
/// anything else, also for more than 64 axes and extents beyond 63 bits.
NpyHeader parse_npy_header(std::string_view text);

}  // namespace qstep
