// A tensor is a view: address, element type, shape. Memory belongs to an arena.
#pragma once

#include <span>

#include "engine/dtype.h"
#include "engine/error.h"
#include "engine/shape.h"

namespace qstep {

/// Copied freely; owns nothing. Elements lie without gaps, the last extent fastest.
struct Tensor {
    void* data = nullptr;
    DType dtype = DType::f32;
    Shape shape;

    /// False for the default-constructed tensor, which stands for "absent" (no bias, no residual).
    explicit operator bool() const { return data != nullptr; }
    std::int64_t count() const { return shape.count(); }
    std::size_t bytes() const { return static_cast<std::size_t>(count()) * size_of(dtype); }

    /// Typed address. Throws when T is not the element type.
    template <typename T>
    T* as() const {
        QSTEP_CHECK(DTypeOf<T>::value == dtype, "tensor {} holds {}, asked for {}", shape.to_string(),
                    name_of(dtype), name_of(DTypeOf<T>::value));
        return static_cast<T*>(data);
    }
    /// All elements in memory order.
    template <typename T>
    std::span<T> span() const {
        return {as<T>(), static_cast<std::size_t>(count())};
    }
};

/// Throws unless `tensor` has exactly this type and shape; `name` is what the message calls it.
void check_tensor(const Tensor& tensor, const char* name, DType dtype, const Shape& shape);

}  // namespace qstep
