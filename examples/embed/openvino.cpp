// A bundle's masks through OpenVINO's C++ API, on a CPU: those of
// foveate segment BUNDLE IMAGE... --out OUT --engine openvino --precision P --threads N.
#include <cstring>
#include <openvino/openvino.hpp>

#include "program.hpp"

class OpenVinoEngine : public Engine {
 public:
  OpenVinoEngine(const std::string& graph, int threads)
      : compiled_(compiled(graph, threads)),
        request_(compiled_.create_infer_request()),
        layout_(layout_of(input_sides(), graph)) {}

  Layout layout() const override { return layout_; }

  Image mask(Image& image) override {
    const std::vector<std::int64_t> sides = sides_of(image);
    const ov::Shape shape(sides.begin(), sides.end());
    request_.set_tensor("image", ov::Tensor(ov::element::u8, shape, image.bytes.data()));
    request_.infer();
    const ov::Tensor found = request_.get_tensor("mask");
    Image mask{image.height, image.width, {}, std::vector<std::uint8_t>(found.get_byte_size())};
    std::memcpy(mask.bytes.data(), found.data(), found.get_byte_size());
    return mask;
  }

 private:
  std::vector<std::int64_t> input_sides() const {
    std::vector<std::int64_t> sides;
    for (const ov::Dimension& side : compiled_.input("image").get_partial_shape()) {
      sides.push_back(side.is_static() ? side.get_length() : -1);
    }
    return sides;
  }

  // The settings of runtime/engines/openvino_model.py. Without the hint OpenVINO lowers the
  // geometry where the processor has quicker arithmetic, and the masks are others.
  static ov::CompiledModel compiled(const std::string& graph, int threads) {
    ov::Core core;
    return core.compile_model(core.read_model(graph), "CPU",
                              ov::hint::inference_precision(ov::element::f32),
                              ov::inference_num_threads(threads), ov::num_streams(1),
                              ov::hint::enable_cpu_pinning(false));
  }

  ov::CompiledModel compiled_;
  ov::InferRequest request_;
  Layout layout_;
};

int main(int argc, char** argv) {
  return run(argc, argv, 5, "BUNDLE fp32|int8 THREADS OUT IMAGE...", [&] {
    return std::make_unique<OpenVinoEngine>(graph_file(argv[1], argv[2]), thread_count(argv[3]));
  });
}
