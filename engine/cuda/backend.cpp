#include "engine/cuda/backend.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/cuda/capture.h"
#include "engine/cuda/runtime.h"
#include "engine/cuda/staging.h"
#include "engine/error.h"

namespace qstep::cuda {

namespace {

// The oldest architecture that the kernels are built for.
constexpr int kOldestMajor = 8;

double mebibytes(std::size_t bytes) {
    return static_cast<double>(bytes) / (1 << 20);
}

class CudaBackend : public Backend {
  public:
    explicit CudaBackend(int index) : index_(index) {
        QSTEP_CUDA_CHECK(cudaGetDeviceProperties(&properties_, index));
        if (properties_.major < kOldestMajor)
            fail_run("cuda:{} is a {} of compute capability {}.{}; the oldest supported is {}.0", index,
                     properties_.name, properties_.major, properties_.minor, kOldestMajor);
    }

    using Backend::allocate;
    void* allocate(std::size_t bytes, std::string_view remedy) override {
        QSTEP_CUDA_CHECK(cudaSetDevice(index_));
        void* address = nullptr;
        const cudaError_t status = cudaMalloc(&address, std::max<std::size_t>(bytes, 1));
        if (status == cudaErrorMemoryAllocation) fail_out_of_memory(bytes, remedy);
        QSTEP_CUDA_CHECK(status);
        return address;
    }
    void release(void* address) noexcept override { cudaFree(address); }
    void* make_stream() override {
        QSTEP_CUDA_CHECK(cudaSetDevice(index_));
        cudaStream_t stream = nullptr;
        QSTEP_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
        return stream;
    }
    void destroy_stream(void* stream) noexcept override {
        cudaStreamDestroy(static_cast<cudaStream_t>(stream));
    }
    void copy_in(Context& context, void* to, const void* from, std::size_t bytes) override {
        refuse_inside_capture(context, "copies from the host");
        staging_.copy_in(stream_of(context), to, from, bytes);
    }
    void copy_out(Context& context, void* to, const void* from, std::size_t bytes) override {
        refuse_inside_capture(context, "copies to the host");
        staging_.copy_out(stream_of(context), to, from, bytes);
    }
    void fill_zero(Context& context, void* to, std::size_t bytes) override {
        QSTEP_CUDA_CHECK(cudaMemsetAsync(to, 0, bytes, stream_of(context)));
    }
    void synchronize(Context& context) override {
        refuse_inside_capture(context, "waits for the device");
        QSTEP_CUDA_CHECK(cudaStreamSynchronize(stream_of(context)));
    }
    std::unique_ptr<CapturedStep> capture(Context& context, std::function<void(Context&)> step,
                                          int at_once) override {
        return capture_step(context, std::move(step), at_once);
    }
    std::size_t cache_bytes() const override { return static_cast<std::size_t>(properties_.l2CacheSize); }
    std::string description() const override {
        return fmt::format("{}, compute capability {}.{}, {:.1f} GiB", properties_.name, properties_.major,
                           properties_.minor, mebibytes(properties_.totalGlobalMem) / 1024);
    }

  private:
    [[noreturn]] void fail_out_of_memory(std::size_t bytes, std::string_view remedy) {
        cudaGetLastError();
        std::size_t free = 0, total = 0;
        QSTEP_CUDA_CHECK(cudaMemGetInfo(&free, &total));
        fail_run("cuda:{} has no room for {:.1f} MiB: {:.1f} of its {:.1f} MiB are free{}{}", index_,
                 mebibytes(bytes), mebibytes(free), mebibytes(total), remedy.empty() ? "" : "; ", remedy);
    }

    int index_;
    cudaDeviceProp properties_{};
    Staging staging_;
};

std::string version_text(int version) {
    return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

/// The number of GPUs, or a run error that says why there is none.
int count_or_fail() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaSuccess && count > 0) return count;
    cudaGetLastError();
    int driver = 0, runtime = 0;
    if (status == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess &&
        cudaRuntimeGetVersion(&runtime) == cudaSuccess) {
        if (driver == 0) fail_run("this machine has no NVIDIA driver; use --device cpu");
        fail_run(
            "the NVIDIA driver is made for CUDA {}, this program for CUDA {}: install a newer driver, or use "
            "--device cpu",
            version_text(driver), version_text(runtime));
    }
    if (status == cudaSuccess || status == cudaErrorNoDevice)
        fail_run("this machine has no NVIDIA GPU that CUDA can see; use --device cpu");
    fail_run("CUDA cannot be used: {}; use --device cpu", cudaGetErrorString(status));
}

}  // namespace

Backend& cuda_backend(int index) {
    static std::mutex mutex;
    // Never destroyed: at the end of the program the CUDA runtime may be gone before them.
    static auto& backends = *new std::vector<std::unique_ptr<CudaBackend>>;
    const std::lock_guard lock(mutex);
    if (backends.empty()) backends.resize(static_cast<std::size_t>(count_or_fail()));
    if (index < 0 || index >= static_cast<int>(backends.size()))
        fail_run("there is no cuda:{}: this machine has {} GPU{}, counted from cuda:0", index,
                 backends.size(), backends.size() == 1 ? "" : "s");
    std::unique_ptr<CudaBackend>& backend = backends[static_cast<std::size_t>(index)];
    if (backend == nullptr) backend = std::make_unique<CudaBackend>(index);
    return *backend;
}

int cuda_device_count() {
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
    cudaGetLastError();
    return 0;
}

}  // namespace qstep::cuda
