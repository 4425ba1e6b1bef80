#include "threads/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <exception>
#include <thread>

#include "threads/floating_point.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dtrain {
namespace {

std::atomic<int> wanted_threads{1};
std::atomic<std::int64_t> parts_elsewhere{0};
std::atomic<int> awake{0};  // of the pool's threads

// A thread that has nothing to do looks for so long before it sleeps: kernels of a step follow each other closely, and
// waking a thread takes about as long.
constexpr std::chrono::microseconds kPatience{100};

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// True as soon as `holds` does, false after kPatience.
template <typename Condition>
bool wait_awake(const Condition& holds) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  do {
    for (int i = 0; i < 32; ++i) {
      if (holds()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

// Threads of the pool take no signals but those of their own crashes: Python's handlers belong to its main thread.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&all, own);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

// A thread may run wherever the process may, also where the thread that started it is bound to a core.
void leave_the_starters_core() {
  cpu_set_t of_process;
  if (sched_getaffinity(getpid(), sizeof of_process, &of_process) == 0) sched_setaffinity(0, sizeof of_process, &of_process);
}

class Pool {
 public:
  // False where another thread has the pool.
  bool run(std::int64_t count, RunPart part, const void* work, bool wakes) {
    std::unique_lock<std::mutex> mine(owner_, std::try_to_lock);
    if (!mine) return false;
    if (!has_failed_) has_failed_ = !start_threads(static_cast<int>(count) - 1);
    run_as_owner(count, part, work, wakes ? count - 1 : 0);
    return true;
  }

  void run_at_once(std::int64_t count, RunPart part, const void* work) {
    std::lock_guard<std::mutex> mine(owner_);
    if (count == 1) {
      part(work, 0);
      return;
    }
    if (!start_threads(static_cast<int>(count) - 1)) {
      std::fprintf(stderr, "dtrain: BLAS asks for %d threads, and the system gives no more than %d; set OMP_NUM_THREADS\n",
                   static_cast<int>(count), started_ + 1);
      std::abort();
    }
    run_as_owner(count, part, work, kAll);
  }

  // A fork waits for the call that is computed, since the child has no thread to end it.
  void before_fork() { owner_.lock(); }
  void after_fork() { owner_.unlock(); }

 private:
  static constexpr std::int64_t kAll = kMostParts;

  // Wakes so many of the threads that sleep.
  void run_as_owner(std::int64_t count, RunPart part, const void* work, std::int64_t wakes) {
    run_ = part;
    work_ = work;
    control_ = floating_point_control();
    left_.store(count, std::memory_order_relaxed);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const std::uint64_t number = ticket_.load(std::memory_order_relaxed) / kOfCall + 1;
      ticket_.store(number * kOfCall + static_cast<std::uint64_t>(count) * kOfParts, std::memory_order_release);
    }
    if (wakes == kAll) {
      wake_.notify_all();
    } else {
      for (std::int64_t i = 0; i < wakes; ++i) wake_.notify_one();
    }
    take_parts(false);
    const auto is_done = [this] { return left_.load(std::memory_order_acquire) == 0; };
    if (!wait_awake(is_done)) {
      std::unique_lock<std::mutex> lock(mutex_);
      done_.wait(lock, is_done);
    }
  }

  // What is to be done, in one number, so that a thread that comes late cannot take a part of one call for one of
  // another: which call it is, how many parts it has, and the next of them.
  static constexpr std::uint64_t kOfParts = 1 << 16, kOfCall = std::uint64_t(1) << 32;

  // All parts that nobody has taken.
  void take_parts(bool is_of_pool) {
    for (;;) {
      const std::uint64_t ticket = ticket_.fetch_add(1, std::memory_order_acq_rel);
      const std::uint64_t part = ticket % kOfParts, parts = ticket / kOfParts % kOfParts;
      if (part >= parts) return;
      if (is_of_pool) set_floating_point_control(control_);
      run_(work_, static_cast<std::int64_t>(part));
      if (is_of_pool) parts_elsewhere.fetch_add(1, std::memory_order_relaxed);
      if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard<std::mutex> lock(mutex_);
        done_.notify_one();
      }
    }
  }

  void live() {
    leave_the_starters_core();
    for (std::uint64_t seen = 0;;) {
      const auto is_called = [&] { return ticket_.load(std::memory_order_acquire) / kOfCall != seen; };
      if (!wait_awake(is_called)) {
        std::unique_lock<std::mutex> lock(mutex_);
        awake.fetch_sub(1, std::memory_order_relaxed);
        wake_.wait(lock, is_called);
        awake.fetch_add(1, std::memory_order_relaxed);
      }
      seen = ticket_.load(std::memory_order_acquire) / kOfCall;
      take_parts(true);
    }
  }

  // Whether so many are there. Where no more can be started the others take their parts: slower, and no less right.
  bool start_threads(int count) {
    if (started_ >= count) return true;
    SignalsBlocked blocked;
    try {
      for (; started_ < count; ++started_) {
        awake.fetch_add(1, std::memory_order_relaxed);
        std::thread thread([this] { live(); });
        pthread_setname_np(thread.native_handle(), "dtrain kernels");
        thread.detach();
      }
    } catch (const std::exception&) {
      awake.fetch_sub(1, std::memory_order_relaxed);
      return false;
    }
    return true;
  }

  std::mutex owner_;  // held by the thread whose call is computed
  int started_ = 0;
  bool has_failed_ = false;
  RunPart run_ = nullptr;
  const void* work_ = nullptr;
  std::uint64_t control_ = 0;
  std::atomic<std::uint64_t> ticket_{0};
  std::atomic<std::int64_t> left_{0};
  std::mutex mutex_;  // of the two conditions
  std::condition_variable wake_, done_;
};

// Never destroyed: its threads wait in it until the process is gone. A child has none of them, whatever they were at.
std::atomic<Pool*> pool{nullptr};

}  // namespace

int num_threads() { return wanted_threads.load(std::memory_order_relaxed); }

void set_num_threads(int count) {
  wanted_threads.store(count < 1 ? 1 : count > kMostParts ? static_cast<int>(kMostParts) : count);
}

int threads_awake() { return awake.load(std::memory_order_relaxed); }

void make_pool() {
  pool = new Pool;
  pthread_atfork([] { pool.load()->before_fork(); }, [] { pool.load()->after_fork(); },
                 [] {
                   pool = new Pool;
                   awake = 0;
                 });
}

void run_parts(std::int64_t count, RunPart run, const void* work, bool wakes) {
  if (count > 1 && pool.load()->run(count, run, work, wakes)) return;
  for (std::int64_t part = 0; part < count; ++part) run(work, part);
}

void run_parts_at_once(std::int64_t count, RunPart run, const void* work) {
  if (count > 0) pool.load()->run_at_once(count, run, work);
}

std::int64_t parts_run_by_pool() { return parts_elsewhere.load(std::memory_order_relaxed); }

}  // namespace dtrain
