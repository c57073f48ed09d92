// What the programs share: an engine in, the masks of the images named on the command line out.
#pragma once

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>

#include "pgm.hpp"

// The fused graph of a bundle in some runtime.
class Engine {
 public:
  virtual ~Engine() = default;

  // Returns the pixel that the graph takes.
  virtual Layout layout() const = 0;

  // Returns the class of every pixel of an image of that layout.
  virtual Image mask(Image& image) = 0;
};

// Returns what went wrong as one line; an engine's words may have many.
inline std::string one_line(const std::exception& error) {
  std::string text = error.what();
  std::replace_if(text.begin(), text.end(), [](unsigned char c) { return std::iscntrl(c); }, ' ');
  return text.substr(0, 1000);
}

// Returns the file of a bundle's graph. Nothing is compared with the manifest: what lies there is
// run. foveate bundle verify does that, before a bundle is shipped.
inline std::string graph_file(const std::string& bundle, const std::string& precision) {
  if (precision != "fp32" && precision != "int8") {
    throw std::runtime_error("precision " + precision + "; expected fp32 or int8");
  }
  const auto path = std::filesystem::path(bundle) / ("cascade." + precision + ".onnx");
  if (!std::filesystem::is_regular_file(path)) {
    throw std::runtime_error(path.string() + ": no such graph; expected a bundle of foveate export");
  }
  return path.string();
}

inline int thread_count(const std::string& text) {
  const int count = std::atoi(text.c_str());
  if (count < 1 || count > 1024) throw std::runtime_error(text + " threads; expected 1 to 1024");
  return count;
}

// Returns the pixel that a graph takes by the sides of its input, [N,H,W], then 3 for colours, then
// 2 for the bytes of 16 bit; source is its file.
inline Layout layout_of(const std::vector<std::int64_t>& sides, const std::string& source) {
  const std::vector<std::int64_t> more(sides.begin() + std::min<std::ptrdiff_t>(3, sides.size()),
                                       sides.end());
  if (sides.size() == 3) return {1, 1};
  if (more == std::vector<std::int64_t>{2}) return {1, 2};
  if (more == std::vector<std::int64_t>{3}) return {3, 1};
  if (more == std::vector<std::int64_t>{3, 2}) return {3, 2};
  throw std::runtime_error(source + ": its input is not that of a bundle for grey or rgb images");
}

// Returns the sides of an image as the graph's input.
inline std::vector<std::int64_t> sides_of(const Image& image) {
  std::vector<std::int64_t> sides{1, static_cast<std::int64_t>(image.height),
                                  static_cast<std::int64_t>(image.width)};
  if (image.layout.channels == 3) sides.push_back(3);
  if (image.layout.depth == 2) sides.push_back(2);
  return sides;
}

// Writes the mask of one image as FOLDER/NAME.mask.pgm and says how long the engine took.
inline void segment(Engine& engine, const std::filesystem::path& path,
                    const std::filesystem::path& folder) {
  Image image = with_layout(read_pgm(path), engine.layout());
  const auto started = std::chrono::steady_clock::now();
  const Image mask = engine.mask(image);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - started;
  const auto out = folder / (path.stem().string() + ".mask.pgm");
  write_pgm(out, mask);
  std::printf("%s %zux%zu %.2f ms\n", out.c_str(), mask.width, mask.height, took.count());
}

// Segments the images from argv[first] on into the folder argv[first - 1]. Returns the exit code:
// 1 when some failed; those are named on standard error, and the others are written.
inline int segment_all(Engine& engine, int first, int argc, char** argv) {
  const std::filesystem::path folder = argv[first - 1];
  std::filesystem::create_directories(folder);
  std::set<std::string> stems;
  int failed = 0;
  for (int index = first; index < argc; ++index) {
    try {
      if (!stems.insert(std::filesystem::path(argv[index]).stem().string()).second) {
        throw std::runtime_error("its mask would overwrite that of another image of its name");
      }
      segment(engine, argv[index], folder);
    } catch (const std::exception& error) {
      std::cerr << "failed: " << argv[index] << ": " << one_line(error) << '\n';
      failed = 1;
    }
  }
  return failed;
}

// What every program does: make() gives the engine, argv[first] is the first image. Returns the exit
// code, 2 for a mistake.
template <typename Make>
int run(int argc, char** argv, int first, const char* usage, Make make) {
  if (argc <= first) {
    std::cerr << "usage: " << argv[0] << ' ' << usage << '\n';
    return 2;
  }
  try {
    const std::unique_ptr<Engine> engine = make();
    return segment_all(*engine, first, argc, argv);
  } catch (const std::exception& error) {
    std::cerr << argv[0] << ": " << one_line(error) << '\n';
    return 2;
  }
}
