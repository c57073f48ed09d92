// A bundle's masks through TensorRT's C++ API, on an NVIDIA GPU: those of
// foveate segment BUNDLE IMAGE... --out OUT --engine tensorrt, from the same plan.
//
// TensorRT 10, 11 or TensorRT-RTX. It has never been linked, nor run.
// A plan may hold code: take it from where you would take a program, and from nowhere else.
// One of foveate build --version-compatible holds code for the host, which TensorRT refuses to load
// without --host-code. Give that only for plans of your own.
#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <cstring>
#include <map>

#include "program.hpp"

void must(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

// Keeps the last thing that went wrong.
class Log : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* text) noexcept override {
    if (severity == Severity::kERROR || severity == Severity::kINTERNAL_ERROR) said = text;
  }
  void must(bool done) const {
    if (!done) throw std::runtime_error("TensorRT: " + said);
  }
  std::string said = "it does not say why";
};

// Memory of the GPU that grows when a larger image comes.
class Memory {
 public:
  ~Memory() { cudaFree(address_); }
  void* of(std::size_t bytes) {
    if (bytes > bytes_) {
      must(cudaFree(address_));
      address_ = nullptr, bytes_ = 0;
      must(cudaMalloc(&address_, bytes));
      bytes_ = bytes;
    }
    return address_;
  }

 private:
  void* address_ = nullptr;
  std::size_t bytes_ = 0;
};

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": no such plan; make one: foveate build --out FILE");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class TensorRtEngine : public Engine {
 public:
  TensorRtEngine(const std::string& path, bool host_code) {
    const std::string plan = content(path);
    runtime_.reset(nvinfer1::createInferRuntime(log_));
    log_.must(runtime_ != nullptr);
    runtime_->setEngineHostCodeAllowed(host_code);
    engine_.reset(runtime_->deserializeCudaEngine(plan.data(), plan.size()));
    log_.must(engine_ != nullptr);
    context_.reset(context());
    log_.must(context_ != nullptr);
    const nvinfer1::Dims sides = engine_->getTensorShape("image");
    layout_ = layout_of({sides.d, sides.d + sides.nbDims}, path);
    must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }
  ~TensorRtEngine() override { cudaStreamDestroy(stream_); }

  Layout layout() const override { return layout_; }

  Image mask(Image& image) override {
    const nvinfer1::Dims sides = dims_of(image);
    use(profile_for(sides));
    log_.must(context_->setInputShape("image", sides));
    for (std::int32_t index = 0; index < engine_->getNbIOTensors(); ++index) {
      const char* const name = engine_->getIOTensorName(index);
      log_.must(context_->setTensorAddress(name, memory_[name].of(bytes_of(name))));
    }
    void* const input = memory_["image"].of(image.bytes.size());
    must(cudaMemcpyAsync(input, image.bytes.data(), image.bytes.size(), cudaMemcpyHostToDevice,
                         stream_));
    log_.must(context_->enqueueV3(stream_));
    Image mask{image.height, image.width, {}, {}};
    mask.bytes.resize(image.height * image.width);
    must(cudaMemcpyAsync(mask.bytes.data(), memory_["mask"].of(mask.bytes.size()),
                         mask.bytes.size(), cudaMemcpyDeviceToHost, stream_));
    must(cudaStreamSynchronize(stream_));
    return mask;
  }

 private:
  // TensorRT-RTX compiles kernels for a shape before its first run, as in
  // runtime/engines/tensorrt/plan.py: the first masks are made by the same kernels as the later.
  nvinfer1::IExecutionContext* context() {
#ifdef TRT_MAJOR_RTX
    config_.reset(engine_->createRuntimeConfig());
    log_.must(config_ != nullptr);
    config_->setDynamicShapesKernelSpecializationStrategy(
        nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER);
    log_.must(config_->setCudaGraphStrategy(nvinfer1::CudaGraphStrategy::kWHOLE_GRAPH_CAPTURE));
    return engine_->createExecutionContext(config_.get());
#else
    return engine_->createExecutionContext();
#endif
  }

  // Changing the profile costs TensorRT time in the next run, so only another one is set.
  void use(std::int32_t profile) {
    if (profile == profile_) return;
    log_.must(context_->setOptimizationProfileAsync(profile, stream_));
    profile_ = profile;
  }

  static nvinfer1::Dims dims_of(const Image& image) {
    const std::vector<std::int64_t> sides = sides_of(image);
    nvinfer1::Dims made{};
    made.nbDims = static_cast<std::int32_t>(sides.size());
    std::copy(sides.begin(), sides.end(), made.d);
    return made;
  }

  // Returns the first profile of the plan that covers an image.
  std::int32_t profile_for(const nvinfer1::Dims& sides) const {
    using Select = nvinfer1::OptProfileSelector;
    for (std::int32_t index = 0; index < engine_->getNbOptimizationProfiles(); ++index) {
      const auto least = engine_->getProfileShape("image", index, Select::kMIN);
      const auto most = engine_->getProfileShape("image", index, Select::kMAX);
      bool covers = true;
      for (std::int32_t side = 0; side < sides.nbDims; ++side) {
        covers = covers && least.d[side] <= sides.d[side] && sides.d[side] <= most.d[side];
      }
      if (covers) return index;
    }
    throw std::runtime_error("is outside what the plan takes; build one: foveate build --size");
  }

  // Returns the bytes of a tensor for the image whose shape was set; all are uint8 or float32.
  std::size_t bytes_of(const char* name) const {
    const nvinfer1::Dims sides = context_->getTensorShape(name);
    std::size_t bytes = engine_->getTensorDataType(name) == nvinfer1::DataType::kUINT8 ? 1 : 4;
    for (std::int32_t side = 0; side < sides.nbDims; ++side) {
      if (sides.d[side] < 0) throw std::runtime_error(std::string(name) + " has no known shape");
      bytes *= static_cast<std::size_t>(sides.d[side]);
    }
    return bytes;
  }

  Log log_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
#ifdef TRT_MAJOR_RTX
  std::unique_ptr<nvinfer1::IRuntimeConfig> config_;
#endif
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  std::map<std::string, Memory> memory_;
  cudaStream_t stream_ = nullptr;
  Layout layout_;
  std::int32_t profile_ = 0;  // that of a new context
};

int main(int argc, char** argv) {
  const bool host_code = argc > 1 && std::strcmp(argv[1], "--host-code") == 0;
  const int plan = host_code ? 2 : 1;
  return run(argc, argv, plan + 2, "[--host-code] FILE.plan OUT IMAGE...",
             [&] { return std::make_unique<TensorRtEngine>(argv[plan], host_code); });
}
