// Reader and writer of NumPy's .npy files, float32 in C order.
//
// Layout: "\x93NUMPY", two bytes of version (major, minor), the header's length (little-endian, 2 bytes in
// version 1.0, 4 in 2.0 and 3.0), the header, the elements. The header is a Python dictionary such as
// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } with spaces and a line feed behind it.
// Source: numpy.lib.format, "Format Version 1.0" to "3.0".
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/atomic_file.h"

namespace qstep {

/// An array of float32 in host memory.
struct NpyArray {
    std::vector<std::int64_t> shape;  // no extent: one element without axes
    std::vector<float> values;        // row-major
};

/// Reads the whole file. Throws a run error of one sentence for what is no .npy file of versions 1.0 to 3.0,
/// for element types other than little-endian float32, for Fortran order, for headers that are damaged,
/// longer than 64 KiB or of more than 64 axes, for extents whose product is not the data in the file, and for
/// bytes behind them. Allocates no more than the file is long.
NpyArray read_npy(const std::filesystem::path& path);

/// Writes version 1.0, the elements aligned to 64 bytes. The values are as many as the shape holds.
void write_npy(AtomicFile& file, std::span<const std::int64_t> shape, std::span<const float> values);

/// "(3, 4)", "(5,)", "()".
std::string to_text(std::span<const std::int64_t> shape);

}  // namespace qstep
