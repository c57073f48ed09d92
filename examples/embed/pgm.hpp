// Grey images as binary PGM (P5), 8 or 16 bit: read and written without a library.
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

// Grey pixels, row by row; depth is the bytes of one: 1, or 2 with the low one first.
struct Image {
  std::size_t height = 0, width = 0, depth = 1;
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

// Returns the pixels of a PGM file; what() of the error follows the file's name.
inline Image read_pgm(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot be read");
  if (file.get() != 'P' || file.get() != '5') {
    throw std::runtime_error("is not a binary PGM (P5); convert it: magick scan.png scan.pgm");
  }
  Image image;
  image.width = header_number(file);
  image.height = header_number(file);
  const std::size_t most = header_number(file);
  if (!std::isspace(file.get())) throw std::runtime_error("has no sound header of a PGM");
  if (most != 255 && most != 65535) {
    throw std::runtime_error("has " + std::to_string(most) + " as its white; expected 255 or 65535");
  }
  image.depth = most == 255 ? 1 : 2;
  const std::size_t wanted = image.height * image.width * image.depth;
  const std::size_t found = std::filesystem::file_size(path) - static_cast<std::size_t>(file.tellg());
  if (found != wanted) {
    throw std::runtime_error("has " + std::to_string(found) + " bytes of pixels; its header wants " +
                             std::to_string(wanted));
  }
  image.bytes.resize(wanted);
  file.read(reinterpret_cast<char*>(image.bytes.data()), static_cast<std::streamsize>(wanted));
  if (image.depth == 2) {  // PGM has the high byte first
    for (std::size_t i = 0; i < wanted; i += 2) std::swap(image.bytes[i], image.bytes[i + 1]);
  }
  return image;
}

// Returns an image with so many bytes a pixel, converted as foveate segment does it: 8 to 16 bit
// times 257, so that white stays white; 16 to 8 bit divided by 257 and rounded.
inline Image with_depth(Image image, std::size_t depth) {
  if (image.depth == depth) return image;
  Image made{image.height, image.width, depth, {}};
  made.bytes.resize(image.height * image.width * depth);
  for (std::size_t i = 0; i < image.height * image.width; ++i) {
    if (depth == 2) {
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
