// The Python module dtrain.kernels._cpu: kernel_table() and little else.
#include <pybind11/pybind11.h>

#include "binding/isa.h"
#include "binding/numpy_array.h"
#include "binding/share.h"
#include "binding/table.h"
#include "build_digest.h"
#include "threads/blas_jobs.h"

namespace dtrain {

#define FAMILY(name) void add_##name(Table& table);
#include "families.inc"
#undef FAMILY

namespace {

Table& table() {
  static Table rows = [] {
    Table all;
#define FAMILY(name) add_##name(all);
#include "families.inc"
#undef FAMILY
    return all;
  }();
  return rows;
}

pybind11::list kernel_table() {
  namespace py = pybind11;
  py::list result;
  for (Row& row : table()) {
    auto self = py::capsule(&row);
    auto function = py::reinterpret_steal<py::object>(PyCFunction_NewEx(&row.method, self.ptr(), nullptr));
    auto bind = py::object(py::none());
    if (row.bind.ml_meth != nullptr) {
      bind = py::reinterpret_steal<py::object>(PyCFunction_NewEx(&row.bind, self.ptr(), nullptr));
    }
    result.append(py::make_tuple(row.op, row.algorithm, row.name, row.isa, row.dtype, cpu_supports(row.isa), function,
                                 bind));
  }
  return result;
}

pybind11::list instruction_set_table() {
  namespace py = pybind11;
  py::list result;
  for (const InstructionSet& known : instruction_sets()) {
    py::list features;
    for (const char* feature : known.features) features.append(feature);
    result.append(py::make_tuple(known.name, features, known.is_supported));
  }
  return result;
}

}  // namespace
}  // namespace dtrain

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "Compiled CPU kernels of dtrain.";
  dtrain::find_numpy();
  dtrain::make_pool();
  m.attr("source_digest") = DTRAIN_SOURCE_DIGEST;
  m.attr("version") = DTRAIN_VERSION;
  m.def("kernel_table", &dtrain::kernel_table,
        "Rows (op, algorithm, name, isa, dtype, is_supported, kernel, bind) of every compiled kernel, as listed.");
  m.def("instruction_sets", &dtrain::instruction_set_table,
        "(name, features, is_supported) of every instruction set of this build, plain code first.");
  m.def("set_num_threads", &dtrain::set_num_threads, "How many threads a call may take, Python's own included.");
  m.def("num_threads", &dtrain::num_threads);
  m.def("parts_run_by_pool", &dtrain::parts_run_by_pool, "How many parts of calls ran on another thread than Python's.");
  m.def(
      "blas_jobs", [] { return reinterpret_cast<std::uintptr_t>(&dtrain::run_blas_jobs); },
      "The address of what runs OpenBLAS's jobs on our threads.");
  m.def("set_blas_numbers", &dtrain::set_blas_numbers, "How many numbers OpenBLAS has for threads.");
  m.def(
      "least_bytes_of_part", [] { return dtrain::least_bytes_of_part; },
      "Bytes that a part of a call moves, or takes as long as, so that it is handed over.");
  m.def(
      "least_bytes_to_wake", [] { return dtrain::least_bytes_to_wake; },
      "Bytes that a call moves, or takes as long as, so that a thread is woken for it.");
  m.def("set_least_bytes", [](std::int64_t of_part, std::int64_t to_wake) {
    dtrain::least_bytes_of_part = of_part < 1 ? 1 : of_part;
    dtrain::least_bytes_to_wake = to_wake;
  });
  m.def(
      "set_bfloat16", [](int number) { dtrain::bfloat16_type_number = number; },
      "Tell the module NumPy's type number of ml_dtypes.bfloat16.");
}
