// The functions of qstep.h: arguments checked, exceptions turned into a status and a sentence.
#include "bindings/c/qstep.h"

#include <array>
#include <exception>
#include <new>
#include <string_view>

#include "bindings/c/host_codec.h"
#include "engine/error.h"
#include "quant/stream.h"

struct qstep_codec {
    qstep::HostCodec codec;
};

namespace {

using namespace qstep;

// An array, so that keeping the sentence needs no memory.
thread_local std::array<char, 1024> last_error{};

qstep_status fail(qstep_status status, std::string_view sentence) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < sentence.size() && length + 1 < last_error.size(); ++i) {
        // Options have dashes at the command line, not here.
        if (sentence.substr(i).starts_with("--") && (i == 0 || sentence[i - 1] == ' ')) {
            ++i;
            continue;
        }
        last_error[length++] = sentence[i];
    }
    last_error[length] = '\0';
    return status;
}

qstep_status status_of(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::usage:
            return QSTEP_INVALID;
        case ErrorKind::run:
            return QSTEP_FAILED;
        default:
            return QSTEP_INTERNAL;
    }
}

template <typename Body>
qstep_status guarded(const Body& body) noexcept {
    try {
        body();
        return QSTEP_OK;
    } catch (const Error& error) {
        return fail(status_of(error.kind()), error.what());
    } catch (const std::bad_alloc&) {
        return fail(QSTEP_FAILED, "there is not enough memory");
    } catch (const std::exception& error) {
        return fail(QSTEP_INTERNAL, error.what());
    } catch (...) {
        return fail(QSTEP_INTERNAL, "an unknown exception");
    }
}

void check_there(const void* address, const char* what) {
    if (address == nullptr) fail_usage("{} is NULL", what);
}

std::span<const std::byte> stream_at(const void* stream, std::int64_t bytes) {
    check_there(stream, "the stream");
    if (bytes < 0) fail_usage("a stream has no {} bytes", bytes);
    return {static_cast<const std::byte*>(stream), static_cast<std::size_t>(bytes)};
}

}  // namespace

int qstep_api_version(void) {
    return QSTEP_API_VERSION;
}

const char* qstep_version(void) {
    return QSTEP_VERSION;
}

const char* qstep_last_error(void) {
    return last_error.data();
}

const char* qstep_codec_name(int number) {
    const auto names = codec_names();
    // The names are literals, which end with a 0.
    return number >= 0 && static_cast<std::size_t>(number) < names.size()
               ? names[static_cast<std::size_t>(number)].data()
               : nullptr;
}

qstep_status qstep_codec_create(const qstep_option* options, size_t option_count, qstep_codec** codec) {
    return guarded([&] {
        check_there(codec, "the place for the codec");
        *codec = nullptr;
        if (option_count > 0) check_there(options, "the list of options");
        std::vector<std::pair<std::string, std::string>> given;
        for (std::size_t i = 0; i < option_count; ++i) {
            check_there(options[i].name, "the name of an option");
            check_there(options[i].value, options[i].name);
            given.emplace_back(options[i].name, options[i].value);
        }
        *codec = new qstep_codec{HostCodec(parse_host_codec_options(given))};
    });
}

void qstep_codec_destroy(qstep_codec* codec) {
    delete codec;
}

qstep_status qstep_quantize(qstep_codec* codec, const float* in, int64_t count, int64_t step, float* residual,
                            float* out, double* variance) {
    return guarded([&] {
        check_there(codec, "the codec");
        const double sum = codec->codec.quantize({in, count, step, residual}, out);
        if (variance != nullptr) *variance = sum;
    });
}

qstep_status qstep_stream_bytes(qstep_codec* codec, int64_t count, int64_t* bytes) {
    return guarded([&] {
        check_there(codec, "the codec");
        check_there(bytes, "the place for the number of bytes");
        *bytes = codec->codec.stream_bytes(count);
    });
}

qstep_status qstep_encode(qstep_codec* codec, const float* in, int64_t count, int64_t step, float* residual,
                          void* stream, int64_t capacity, int64_t* written, double* variance) {
    return guarded([&] {
        check_there(codec, "the codec");
        check_there(stream, "the room for the stream");
        check_there(written, "the place for the number of bytes");
        if (capacity < 0) fail_usage("there is no room of {} bytes", capacity);
        std::size_t length = 0;
        const double sum = codec->codec.encode(
            {in, count, step, residual},
            {static_cast<std::byte*>(stream), static_cast<std::size_t>(capacity)}, length);
        *written = static_cast<std::int64_t>(length);
        if (variance != nullptr) *variance = sum;
    });
}

qstep_status qstep_stream_elements(const void* stream, int64_t bytes, int64_t* elements) {
    return guarded([&] {
        check_there(elements, "the place for the number of elements");
        *elements = read_stream_header(stream_at(stream, bytes)).elements;
    });
}

qstep_status qstep_decode(const void* stream, int64_t bytes, int threads, float* out, int64_t count) {
    return guarded([&] {
        check_there(out, "the array for the result");
        if (count < 0) fail_usage("an array has no {} elements", count);
        if (threads < 0 || threads > 1024) fail_usage("threads are 0 to 1024, not {}", threads);
        decode_on_host(stream_at(stream, bytes), threads, {out, static_cast<std::size_t>(count)});
    });
}
