// Grey images as binary PGM (P5), colour ones as PPM (P6), 8 or 16 bit, without a library.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

// What a pixel is: 1 channel, or red, green and blue; depth is the bytes of each: 1, or 2 with the
// low one first.
struct Layout {
  std::size_t channels = 1, depth = 1;
};

// Pixels, row by row.
struct Image {
  std::size_t height = 0, width = 0;
  Layout layout;
  std::vector<std::uint8_t> bytes;
};

// Returns the next number of a PGM's header; comments reach from # to the end of their line.
inline std::size_t header_number(std::istream& file) {
  while (std::isspace(file.peek()) || file.peek() == '#') {
    if (file.get() == '#') file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  std::size_t number = 0;
  for (int digit = 0; std::isdigit(file.peek()); ++digit) {
    if (digit == 6) throw std::runtime_error("has a side of a million pixels or more");
    number = 10 * number + static_cast<std::size_t>(file.get() - '0');
  }
  if (!file || number == 0) throw std::runtime_error("has no sound header of a PGM");
  return number;
}

// Returns the pixels of a PGM or PPM file; what() of the error follows the file's name.
inline Image read_pgm(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot be read");
  const int letter = file.get(), kind = file.get();
  if (letter != 'P' || (kind != '5' && kind != '6')) {
    throw std::runtime_error(
        "is not a binary PGM (P5) or PPM (P6); convert it: magick scan.png scan.pgm");
  }
  Image image;
  image.layout.channels = kind == '5' ? 1 : 3;
  image.width = header_number(file);
  image.height = header_number(file);
  const std::size_t most = header_number(file);
  if (!std::isspace(file.get())) throw std::runtime_error("has no sound header of a PGM");
  if (most != 255 && most != 65535) {
    throw std::runtime_error("has " + std::to_string(most) + " as its white; expected 255 or 65535");
  }
  image.layout.depth = most == 255 ? 1 : 2;
  const std::size_t wanted =
      image.height * image.width * image.layout.channels * image.layout.depth;
  const std::size_t found = std::filesystem::file_size(path) - static_cast<std::size_t>(file.tellg());
  if (found != wanted) {
    throw std::runtime_error("has " + std::to_string(found) + " bytes of pixels; its header wants " +
                             std::to_string(wanted));
  }
  image.bytes.resize(wanted);
  file.read(reinterpret_cast<char*>(image.bytes.data()), static_cast<std::streamsize>(wanted));
  if (image.layout.depth == 2) {  // the file has the high byte first
    for (std::size_t i = 0; i < wanted; i += 2) std::swap(image.bytes[i], image.bytes[i + 1]);
  }
  return image;
}

// Returns an image of a layout, its depth converted as foveate segment does it: 8 to 16 bit times
// 257, so that white stays white; 16 to 8 bit divided by 257 and rounded. Colours stay as they are.
inline Image with_layout(Image image, const Layout& layout) {
  if (image.layout.channels != layout.channels) {
    throw std::runtime_error("has " + std::to_string(image.layout.channels) +
                             " channel(s); the bundle takes " + std::to_string(layout.channels));
  }
  if (image.layout.depth == layout.depth) return image;
  const std::size_t values = image.height * image.width * layout.channels;
  Image made{image.height, image.width, layout, {}};
  made.bytes.resize(values * layout.depth);
  for (std::size_t i = 0; i < values; ++i) {
    if (layout.depth == 2) {
      made.bytes[2 * i] = made.bytes[2 * i + 1] = image.bytes[i];
    } else {
      const unsigned value = image.bytes[2 * i] + 256u * image.bytes[2 * i + 1];
      made.bytes[i] = static_cast<std::uint8_t>((value + 128) / 257);
    }
  }
  return made;
}

// Writes 8-bit pixels; here the class of each, 0 for the background.
inline void write_pgm(const std::filesystem::path& path, const Image& image) {
  std::ofstream file(path, std::ios::binary);
  file << "P5\n" << image.width << ' ' << image.height << "\n255\n";
  file.write(reinterpret_cast<const char*>(image.bytes.data()),
             static_cast<std::streamsize>(image.bytes.size()));
  file.close();
  if (!file) throw std::runtime_error("cannot be written");
}
