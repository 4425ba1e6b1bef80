// The point where the ranks of a shared window meet: each counts its arrivals in a flag that all see, and waits for the
// flags of the others. The same as ArrivalMeeting of transports/meeting.py, which says what the words of a flag and of a frame are.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace dtrain {

// What has become of a meeting; numbered as there.
enum class Outcome {
  met = 0,      // everybody came
  differs = 1,  // everybody came, and the compared words are not all the same
  pending = 2,  // somebody has not come yet
  gone = 3,     // somebody has not come and never will
};

// A rank's part of the window, as far as meetings read it: where its flag and the digests of its two frames are.
struct Part {
  std::uint64_t* flag;  // arrivals, state
  const std::uint64_t* digests[2];
};

class Meeting {
 public:
  Meeting(std::vector<Part> parts, int rank) : parts_(std::move(parts)), rank_(rank) {}

  // What was written before is visible to whoever sees this arrival.
  void arrive(std::uint64_t number);

  // Whether everybody has come `number` times; where all have and `frame` is 0 or 1, whether its digests agree.
  Outcome look(std::uint64_t number, int frame) const;

  // Look again and again, without giving up the core, for at most so many nanoseconds.
  Outcome spin(std::uint64_t number, int frame, std::int64_t nanoseconds) const;

  // Offer the core between looks, or sleep, for a fraction of a millisecond.
  Outcome yield(std::uint64_t number, int frame) const;
  Outcome sleep(std::uint64_t number, int frame) const;

 private:
  template <typename Rest>
  Outcome patiently(std::uint64_t number, int frame, Rest rest) const;

  std::vector<Part> parts_;
  int rank_;
};

}  // namespace dtrain
