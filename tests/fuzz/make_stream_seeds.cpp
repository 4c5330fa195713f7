// make_stream_seeds FOLDER: one small stream of each kind, packed and entropy-coded, for fuzz_stream.
#include <fmt/format.h>

#include <fstream>

#include "quant/entropy.h"
#include "tests/quant/stream_runner.h"

int main(int argument_count, char** arguments) {
    using namespace qstep;
    if (argument_count != 2) return 2;
    const Context context(Device{}, 1);
    int number = 0;
    const auto write = [&](const std::vector<std::byte>& stream) {
        std::ofstream file(fmt::format("{}/seed{}", arguments[1], number++), std::ios::binary);
        file.write(reinterpret_cast<const char*>(stream.data()), static_cast<std::streamsize>(stream.size()));
    };
    for (const test::Codec& kind : test::kAllCodecs)
        for (const std::int64_t levels : {2, 6, 128})
            for (const std::int64_t elements : {37, 700}) {
                const auto x = test::gradient_like(elements);
                const auto stream = test::encode(test::settings_of(kind, elements / 3, levels), x).stream;
                write(stream);
                write(compress_stream(context, stream));
            }
    return number > 0 ? 0 : 1;
}
