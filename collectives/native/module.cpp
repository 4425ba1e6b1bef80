// The Python module dtrain.collectives._native: the type Meeting. A call of it costs less than a look at a dict, which
// pybind11's functions do not promise.
#include <pybind11/pybind11.h>

#include <memory>
#include <stdexcept>

#include "build_digest.h"
#include "native/meeting.h"

namespace dtrain {
namespace {

// The first looks keep the GIL: mostly the others come within that time, and giving it up and taking it costs as much.
constexpr std::int64_t kSpinWithGil = 3'000, kSpinWithoutGil = 97'000;

// A Meeting in shared memory that these views keep.
struct Window {
  std::vector<Py_buffer> views;
  std::unique_ptr<Meeting> meeting;

  ~Window() {
    for (Py_buffer& view : views) PyBuffer_Release(&view);
  }
};

struct Object {
  PyObject_HEAD
  Window* window;
};

// One region of at least `bytes` bytes that may be written; throws where it is not.
char* add_view(Window& window, PyObject* region, Py_ssize_t bytes) {
  Py_buffer view;
  if (PyObject_GetBuffer(region, &view, PyBUF_SIMPLE | PyBUF_WRITABLE) != 0) throw pybind11::error_already_set();
  window.views.push_back(view);
  if (view.len < bytes || reinterpret_cast<std::uintptr_t>(view.buf) % sizeof(std::uint64_t) != 0) {
    throw std::invalid_argument("Meeting: expected aligned regions of at least " + std::to_string(bytes) + " bytes");
  }
  return static_cast<char*>(view.buf);
}

std::unique_ptr<Window> make_window(PyObject* regions, int rank, Py_ssize_t first_frame, Py_ssize_t frame_bytes) {
  auto window = std::make_unique<Window>();
  std::vector<Part> parts;
  for (const pybind11::handle region : pybind11::reinterpret_borrow<pybind11::sequence>(regions)) {
    char* begin = add_view(*window, region.ptr(), first_frame + 2 * frame_bytes);
    const auto word = [&](Py_ssize_t offset) { return reinterpret_cast<std::uint64_t*>(begin + offset); };
    parts.push_back({word(0), {word(first_frame), word(first_frame + frame_bytes)}});
  }
  if (rank < 0 || rank >= static_cast<int>(parts.size()) || first_frame % 8 != 0 || frame_bytes % 8 != 0) {
    throw std::invalid_argument("Meeting: expected a rank that has a region, and frames of whole words");
  }
  window->meeting = std::make_unique<Meeting>(std::move(parts), rank);
  return window;
}

PyObject* create(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject* regions = nullptr;
  int rank = 0;
  Py_ssize_t first_frame = 0, frame_bytes = 0;
  if (!PyArg_ParseTuple(args, "Oinn:Meeting", &regions, &rank, &first_frame, &frame_bytes)) return nullptr;
  try {
    auto window = make_window(regions, rank, first_frame, frame_bytes);
    auto* self = reinterpret_cast<Object*>(type->tp_alloc(type, 0));
    if (self != nullptr) self->window = window.release();
    return reinterpret_cast<PyObject*>(self);
  } catch (pybind11::error_already_set& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  }
  return nullptr;
}

void destroy(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  delete reinterpret_cast<Object*>(object)->window;
  type->tp_free(object);
  Py_DECREF(type);
}

struct Question {
  const Meeting* meeting;
  std::uint64_t number;
  int frame;
};

// Reads (number, frame, …) of a call of `count` arguments; sets an error and returns false where they are others.
bool read(PyObject* self, PyObject* const* args, Py_ssize_t given, Py_ssize_t count, Question& question) {
  if (given != count) {
    PyErr_Format(PyExc_TypeError, "Meeting: expected %zd arguments, got %zd", count, given);
    return false;
  }
  const Window* window = reinterpret_cast<Object*>(self)->window;
  const unsigned long long number = PyLong_AsUnsignedLongLong(args[0]);
  const long frame = PyLong_AsLong(args[1]);
  if (PyErr_Occurred() != nullptr) return false;
  if (frame < -1 || frame > 1) {
    PyErr_SetString(PyExc_ValueError, "Meeting: expected frame 0 or 1, or -1 for none");
    return false;
  }
  question = {window->meeting.get(), number, static_cast<int>(frame)};
  return true;
}

PyObject* as_python(Outcome outcome) { return PyLong_FromLong(static_cast<long>(outcome)); }

PyObject* meet(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  Question q;
  if (!read(self, args, count, 2, q)) return nullptr;
  reinterpret_cast<Object*>(self)->window->meeting->arrive(q.number);
  Outcome outcome = q.meeting->spin(q.number, q.frame, kSpinWithGil);
  if (outcome == Outcome::pending) {
    Py_BEGIN_ALLOW_THREADS
    outcome = q.meeting->spin(q.number, q.frame, kSpinWithoutGil);
    Py_END_ALLOW_THREADS
  }
  return as_python(outcome);
}

PyObject* wait(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  Question q;
  if (!read(self, args, count, 3, q)) return nullptr;
  const int sleeps = PyObject_IsTrue(args[2]);
  if (sleeps < 0) return nullptr;
  Outcome outcome;
  Py_BEGIN_ALLOW_THREADS
  outcome = sleeps ? q.meeting->sleep(q.number, q.frame) : q.meeting->yield(q.number, q.frame);
  Py_END_ALLOW_THREADS
  return as_python(outcome);
}

PyMethodDef methods[] = {
    {"meet", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(meet)), METH_FASTCALL,
     "meet(number, frame): arrive, and look for the others for a short time."},
    {"wait", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(wait)), METH_FASTCALL,
     "wait(number, frame, sleeps): look for the others a little longer."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(create)},
    {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
    {Py_tp_methods, methods},
    {Py_tp_doc, const_cast<char*>("Meeting(regions, rank, first_frame, frame_bytes): see transports/meeting.py.")},
    {0, nullptr},
};

PyType_Spec spec{"dtrain.collectives._native.Meeting", sizeof(Object), 0, Py_TPFLAGS_DEFAULT, slots};

}  // namespace
}  // namespace dtrain

PYBIND11_MODULE(_native, m) {
  m.doc() = "Waiting of ranks in shared memory.";
  m.attr("source_digest") = DTRAIN_SOURCE_DIGEST;
  m.attr("version") = DTRAIN_VERSION;
  m.attr("Meeting") = pybind11::reinterpret_steal<pybind11::object>(PyType_FromSpec(&dtrain::spec));
}
