#include "native/meeting.h"

#include <sched.h>
#include <time.h>

#include <atomic>
#include <chrono>

namespace dtrain {
namespace {

constexpr int kArrivals = 0, kState = 1;
constexpr int kLooksPerClock = 32;
constexpr std::int64_t kSleepNanoseconds = 50'000;
// Where cores are scarce, one turn of others takes longer than this.
constexpr std::chrono::microseconds kPatience(200);

using Clock = std::chrono::steady_clock;

// Words that other processes write; the fences around them order what lies beside.
std::uint64_t seen(const std::uint64_t* word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

void Meeting::arrive(std::uint64_t number) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  __atomic_store_n(parts_[rank_].flag + kArrivals, number, __ATOMIC_RELAXED);
}

Outcome Meeting::look(std::uint64_t number, int frame) const {
  bool is_pending = false;
  for (const Part& part : parts_) {
    if (seen(part.flag + kArrivals) >= number) continue;
    // Whoever will not come has told so before it took its arrival back, if it did.
    if (seen(part.flag + kState) != 0 && seen(part.flag + kArrivals) < number) return Outcome::gone;
    is_pending = true;
  }
  if (is_pending) return Outcome::pending;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (frame < 0) return Outcome::met;
  const std::uint64_t own = *parts_[rank_].digests[frame];
  for (const Part& part : parts_) {
    if (*part.digests[frame] != own) return Outcome::differs;
  }
  return Outcome::met;
}

Outcome Meeting::spin(std::uint64_t number, int frame, std::int64_t nanoseconds) const {
  const auto end = Clock::now() + std::chrono::nanoseconds(nanoseconds);
  do {
    for (int i = 0; i < kLooksPerClock; ++i) {
      const Outcome outcome = look(number, frame);
      if (outcome != Outcome::pending) return outcome;
      pause();
    }
  } while (Clock::now() < end);
  return Outcome::pending;
}

template <typename Rest>
Outcome Meeting::patiently(std::uint64_t number, int frame, Rest rest) const {
  const auto end = Clock::now() + kPatience;
  do {
    const Outcome outcome = look(number, frame);
    if (outcome != Outcome::pending) return outcome;
    rest();
  } while (Clock::now() < end);
  return look(number, frame);
}

Outcome Meeting::yield(std::uint64_t number, int frame) const {
  return patiently(number, frame, [] { sched_yield(); });
}

Outcome Meeting::sleep(std::uint64_t number, int frame) const {
  return patiently(number, frame, [] {
    const timespec duration{0, kSleepNanoseconds};
    nanosleep(&duration, nullptr);
  });
}

}  // namespace dtrain
