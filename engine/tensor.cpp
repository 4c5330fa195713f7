#include "engine/tensor.h"

namespace qstep {

std::size_t size_of(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return 4;
        case DType::bf16:
            return 2;
        case DType::u8:
            return 1;
        case DType::i32:
            return 4;
        case DType::i64:
            return 8;
        case DType::f64:
            return 8;
    }
    QSTEP_CHECK(false, "unknown element type {}", static_cast<int>(dtype));
}

const char* name_of(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return "f32";
        case DType::bf16:
            return "bf16";
        case DType::u8:
            return "u8";
        case DType::i32:
            return "i32";
        case DType::i64:
            return "i64";
        case DType::f64:
            return "f64";
    }
    QSTEP_CHECK(false, "unknown element type {}", static_cast<int>(dtype));
}

Shape::Shape(std::initializer_list<std::int64_t> extents) {
    QSTEP_CHECK(extents.size() <= kMaxRank, "a shape has at most {} extents, got {}", kMaxRank,
                extents.size());
    for (const std::int64_t extent : extents) {
        QSTEP_CHECK(extent >= 0, "an extent is negative: {}", extent);
        extents_[static_cast<std::size_t>(rank_++)] = extent;
    }
}

std::int64_t Shape::count() const {
    std::int64_t product = 1;
    for (int axis = 0; axis < rank_; ++axis) product *= (*this)[axis];
    return product;
}

std::string Shape::to_string() const {
    std::string text = "[";
    for (int axis = 0; axis < rank_; ++axis) text += fmt::format("{}{}", axis ? "," : "", (*this)[axis]);
    return text + "]";
}

void check_tensor(const Tensor& tensor, const char* name, DType dtype, const Shape& shape) {
    QSTEP_CHECK(tensor.data != nullptr, "{} is absent, expected {} {}", name, name_of(dtype),
                shape.to_string());
    QSTEP_CHECK(tensor.dtype == dtype && tensor.shape == shape, "{} is {} {}, expected {} {}", name,
                name_of(tensor.dtype), tensor.shape.to_string(), name_of(dtype), shape.to_string());
}

}  // namespace qstep
