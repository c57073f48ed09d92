// What examples/embed/tensorrt.cpp calls of TensorRT, as NVIDIA's documentation of the API gives it.
// The compiler reads the program with it where there is no TensorRT; nothing can be linked or run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda_runtime_api.h"

namespace nvinfer1 {

struct Dims {
  std::int32_t nbDims;
  std::int64_t d[8];
};

enum class DataType : std::int32_t { kFLOAT = 0, kUINT8 = 5 };
enum class OptProfileSelector : std::int32_t { kMIN = 0, kOPT = 1, kMAX = 2 };
enum class DynamicShapesKernelSpecializationStrategy : std::int32_t { kLAZY, kEAGER, kNONE };
enum class CudaGraphStrategy : std::int32_t { kDISABLED, kWHOLE_GRAPH_CAPTURE };

class ILogger {
 public:
  enum class Severity : std::int32_t { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };
  virtual void log(Severity severity, char const* msg) noexcept = 0;
  virtual ~ILogger() = default;
};

class IExecutionContext {
 public:
  virtual ~IExecutionContext() noexcept = default;
  bool setOptimizationProfileAsync(std::int32_t index, cudaStream_t stream) noexcept;
  bool setInputShape(char const* name, Dims const& dims) noexcept;
  bool setTensorAddress(char const* name, void* data) noexcept;
  Dims getTensorShape(char const* name) const noexcept;
  bool enqueueV3(cudaStream_t stream) noexcept;
};

#ifdef TRT_MAJOR_RTX
class IRuntimeConfig {
 public:
  virtual ~IRuntimeConfig() noexcept = default;
  void setDynamicShapesKernelSpecializationStrategy(
      DynamicShapesKernelSpecializationStrategy strategy) noexcept;
  bool setCudaGraphStrategy(CudaGraphStrategy strategy) noexcept;
};
#endif

class ICudaEngine {
 public:
  virtual ~ICudaEngine() noexcept = default;
  std::int32_t getNbIOTensors() const noexcept;
  char const* getIOTensorName(std::int32_t index) const noexcept;
  Dims getTensorShape(char const* name) const noexcept;
  DataType getTensorDataType(char const* name) const noexcept;
  std::int32_t getNbOptimizationProfiles() const noexcept;
  Dims getProfileShape(char const* name, std::int32_t profile,
                       OptProfileSelector select) const noexcept;
#ifdef TRT_MAJOR_RTX
  IRuntimeConfig* createRuntimeConfig() noexcept;
  IExecutionContext* createExecutionContext(IRuntimeConfig* config) noexcept;
#endif
  IExecutionContext* createExecutionContext() noexcept;
};

class IRuntime {
 public:
  virtual ~IRuntime() noexcept = default;
  void setEngineHostCodeAllowed(bool allowed) noexcept;
  ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept;
};

IRuntime* createInferRuntime(ILogger& logger) noexcept;

}  // namespace nvinfer1
