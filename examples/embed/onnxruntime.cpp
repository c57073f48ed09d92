// A bundle's masks through ONNX Runtime's C API, on a CPU: those of
// foveate segment BUNDLE IMAGE... --out OUT --engine onnxruntime --precision P --threads N.
#include <onnxruntime_c_api.h>

#include "program.hpp"

const OrtApi& api() {
  static const OrtApi* const found = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (found == nullptr) {
    throw std::runtime_error(std::string("ONNX Runtime ") + OrtGetApiBase()->GetVersionString() +
                             " is older than the header this was built with");
  }
  return *found;
}

void must(OrtStatus* status) {
  if (status == nullptr) return;
  const std::string text = api().GetErrorMessage(status);
  api().ReleaseStatus(status);
  throw std::runtime_error(text);
}

// What ONNX Runtime made, released by its own function.
template <typename T>
using Held = std::unique_ptr<T, void(ORT_API_CALL*)(T*)>;

// Returns what a function of the API writes to its last argument.
template <typename T, typename Call>
Held<T> held(void(ORT_API_CALL* release)(T*), Call call) {
  T* made = nullptr;
  must(call(&made));
  return {made, release};
}

class OnnxRuntimeEngine : public Engine {
 public:
  OnnxRuntimeEngine(const std::string& graph, int threads)
      : env_(held(api().ReleaseEnv,
                  [](OrtEnv** made) {
                    return api().CreateEnv(ORT_LOGGING_LEVEL_FATAL, "foveate", made);
                  })),
        session_(session(graph, threads)),
        memory_(held(api().ReleaseMemoryInfo,
                     [](OrtMemoryInfo** made) {
                       return api().CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, made);
                     })),
        layout_(layout_of(input_sides(), graph)) {}

  Layout layout() const override { return layout_; }

  Image mask(Image& image) override {
    Image mask{image.height, image.width, {}, {}};
    mask.bytes.resize(image.height * image.width);
    const auto input = tensor(image), output = tensor(mask);
    const char *taken[] = {"image"}, *given[] = {"mask"};
    const OrtValue* in[] = {input.get()};
    OrtValue* out[] = {output.get()};  // the mask is written straight into the image's bytes
    must(api().Run(session_.get(), nullptr, taken, in, 1, given, 1, out));
    return mask;
  }

 private:
  // The options of runtime/engines/onnxruntime.py.
  Held<OrtSession> session(const std::string& graph, int threads) {
    const auto options = held(api().ReleaseSessionOptions, [](OrtSessionOptions** made) {
      return api().CreateSessionOptions(made);
    });
    must(api().SetIntraOpNumThreads(options.get(), threads));
    must(api().SetInterOpNumThreads(options.get(), 1));
    must(api().SetSessionExecutionMode(options.get(), ORT_SEQUENTIAL));
    must(api().SetSessionLogSeverityLevel(options.get(), ORT_LOGGING_LEVEL_FATAL));
    must(api().AddSessionConfigEntry(options.get(), "session.load_model_format", "ONNX"));
    // int8 products are added up whole on x86 without VNNI too
    must(api().AddSessionConfigEntry(options.get(), "session.x64quantprecision", "1"));
    return held(api().ReleaseSession, [&](OrtSession** made) {
      return api().CreateSession(env_.get(), graph.c_str(), options.get(), made);
    });
  }

  std::vector<std::int64_t> input_sides() {
    const auto info = held(api().ReleaseTypeInfo, [&](OrtTypeInfo** made) {
      return api().SessionGetInputTypeInfo(session_.get(), 0, made);
    });
    const OrtTensorTypeAndShapeInfo* shape = nullptr;  // belongs to info
    must(api().CastTypeInfoToTensorInfo(info.get(), &shape));
    std::size_t rank = 0;
    must(api().GetDimensionsCount(shape, &rank));
    std::vector<std::int64_t> sides(rank);
    must(api().GetDimensions(shape, sides.data(), rank));
    return sides;
  }

  // Returns the bytes of one image as a tensor, without a copy.
  Held<OrtValue> tensor(Image& image) {
    const std::vector<std::int64_t> sides = sides_of(image);
    return held(api().ReleaseValue, [&](OrtValue** made) {
      return api().CreateTensorWithDataAsOrtValue(memory_.get(), image.bytes.data(),
                                                  image.bytes.size(), sides.data(), sides.size(),
                                                  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, made);
    });
  }

  Held<OrtEnv> env_;
  Held<OrtSession> session_;
  Held<OrtMemoryInfo> memory_;
  Layout layout_;
};

int main(int argc, char** argv) {
  return run(argc, argv, 5, "BUNDLE fp32|int8 THREADS OUT IMAGE...", [&] {
    return std::make_unique<OnnxRuntimeEngine>(graph_file(argv[1], argv[2]), thread_count(argv[3]));
  });
}
