// A device that behaves as a GPU does, with the CPU's memory and kernels: its tensors mix with no
// CPU tensor of more than one number, and every wait of the host for the device is counted.
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_local_scalar_dense.h>
#include <ATen/ops/_reshape_alias_cpu_dispatch.h>
#include <ATen/ops/as_strided_cpu_dispatch.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/resize_cpu_dispatch.h>
#include <ATen/ops/set_cpu_dispatch.h>
#include <ATen/ops/view_cpu_dispatch.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/library.h>

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

using at::IntArrayRef;
using at::Tensor;
constexpr auto kStandIn = c10::DeviceType::PrivateUse1;

// ---- Waits of the host for the device

std::mutex waits_mutex;
std::vector<std::string> waits;
thread_local bool within_kernel = false;  // what a kernel copies to do its work is no wait

void wait_for(const std::string& name) {
  if (within_kernel) return;
  std::lock_guard<std::mutex> lock(waits_mutex);
  waits.push_back(name);
}

struct Kernel {
  bool outer = within_kernel;
  Kernel() { within_kernel = true; }
  ~Kernel() { within_kernel = outer; }
};

// ---- Memory

struct StandInAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* data = c10::alloc_cpu(size);
    return {data, data, &c10::free_cpu, c10::Device(kStandIn, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &c10::free_cpu; }
  void copy_data(void* to, const void* from, size_t size) const override {
    default_copy_data(to, from, size);
  }
};

StandInAllocator allocator;
REGISTER_ALLOCATOR(kStandIn, &allocator);

// One device and one stream: nothing to switch, and an event has happened once it is recorded.
struct StandInGuard final : c10::impl::NoOpDeviceGuardImpl<kStandIn> {
  const c10::Device device{kStandIn, 0};
  const c10::Stream stream{c10::Stream::DEFAULT, device};
  c10::Device getDevice() const override { return device; }
  c10::Device exchangeDevice(c10::Device) const override { return device; }
  c10::Stream getStream(c10::Device) const noexcept override { return stream; }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return stream; }
  void record(void** event, const c10::Stream&, const c10::DeviceIndex,
              const c10::EventFlag) const override {}
  void block(void* event, const c10::Stream&) const override {}
  bool queryEvent(void* event) const override { return true; }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override {}
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, StandInGuard);

struct StandInHooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
};

Tensor empty(IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<at::Device>, std::optional<bool>,
             std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &allocator,
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(IntArrayRef size, IntArrayRef stride, std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &allocator,
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           c10::dtype_or_default(dtype));
}

// The same memory as a tensor of the CPU.
Tensor on_cpu(const Tensor& tensor) {
  if (!tensor.defined() || tensor.is_cpu()) return tensor;
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(),
                       tensor.options().device(at::kCPU).requires_grad(false));
}

Tensor on_device(const Tensor& tensor) {
  return tensor.defined() ? tensor.to(c10::Device(kStandIn, 0)) : tensor;
}

Tensor copy_from(const Tensor& self, const Tensor& to, bool non_blocking) {
  if (to.is_cpu()) wait_for("copy to the CPU");
  if (self.is_cpu() && !non_blocking) wait_for("copy to the device");
  Kernel kernel;
  on_cpu(to).copy_(on_cpu(self));
  return to;
}

Tensor copy_from_and_resize(const Tensor& self, const Tensor& to) {
  to.resize_(self.sizes());
  return copy_from(self, to, false);
}

at::Scalar local_scalar_dense(const Tensor& self) {
  wait_for("item");
  return at::_local_scalar_dense(on_cpu(self));
}

// ---- Operations

Tensor convolution(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                   IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation, bool transposed,
                   IntArrayRef output_padding, int64_t groups) {
  Kernel kernel;
  return on_device(at::convolution(on_cpu(input), on_cpu(weight), on_cpu(bias.value_or(Tensor())),
                                   stride, padding, dilation, transposed, output_padding, groups));
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(
    const Tensor& grad, const Tensor& input, const Tensor& weight, IntArrayRef stride,
    IntArrayRef padding, IntArrayRef dilation, bool transposed, IntArrayRef output_padding,
    int64_t groups, std::array<bool, 3> wanted) {
  Kernel kernel;
  auto [input_grad, weight_grad, bias_grad] = at::convolution_backward(
      on_cpu(grad), on_cpu(input), on_cpu(weight), IntArrayRef{weight.size(0)}, stride, padding,
      dilation, transposed, output_padding, groups, wanted);
  return {on_device(input_grad), on_device(weight_grad), on_device(bias_grad)};
}

// PyTorch's fallback leaves the running statistics as they were: their places say nothing about
// writing.
std::tuple<Tensor, Tensor, Tensor> batch_norm(
    const Tensor& input, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias,
    const std::optional<Tensor>& mean, const std::optional<Tensor>& variance, bool training,
    double momentum, double eps) {
  Kernel kernel;
  auto same = [](const std::optional<Tensor>& one) { return on_cpu(one.value_or(Tensor())); };
  auto [output, saved_mean, saved_deviation] = at::native_batch_norm(
      on_cpu(input), same(weight), same(bias), same(mean), same(variance), training, momentum, eps);
  return {on_device(output), on_device(saved_mean), on_device(saved_deviation)};
}

// How many numbers they put out depends on the data, so that a GPU's host waits for them. Indexing
// by a mask goes through nonzero.
const std::set<std::string> waiting = {
    "aten::nonzero", "aten::masked_select", "aten::_unique", "aten::_unique2", "aten::unique_dim",
    "aten::unique_consecutive", "aten::equal", "aten::bincount", "aten::repeat_interleave"};

std::vector<Tensor> tensors_of(const torch::jit::Stack& arguments) {
  std::vector<Tensor> found;
  for (const auto& argument : arguments) {
    if (argument.isTensor()) {
      found.push_back(argument.toTensor());
    } else if (argument.isTensorList()) {
      for (const Tensor& one : argument.toTensorVector()) found.push_back(one);
    } else if (argument.isOptionalTensorList()) {
      for (const std::optional<Tensor>& one : argument.toOptionalTensorVector()) {
        if (one.has_value()) found.push_back(*one);
      }
    }
  }
  return found;
}

void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& name = op.schema().name();
  const auto arguments = torch::jit::last(*stack, op.schema().arguments().size()).vec();
  for (const Tensor& one : tensors_of(arguments)) {
    if (!one.defined()) continue;
    TORCH_CHECK(!one.is_cpu() || one.dim() == 0, "Expected all tensors to be on the same device: ",
                name, " got one on the CPU.");
  }
  if (waiting.count(name)) wait_for(name);
  Kernel kernel;
  at::native::cpu_fallback(op, stack);
}

std::vector<std::string> take_waits() {
  std::lock_guard<std::mutex> lock(waits_mutex);
  return std::exchange(waits, {});
}

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("as_strided", &at::cpu::as_strided);
  library.impl("view", &at::cpu::view);
  library.impl("_reshape_alias", &at::cpu::_reshape_alias);
  library.impl("resize_", &at::cpu::resize_);
  library.impl("_copy_from", &copy_from);
  library.impl("_copy_from_and_resize", &copy_from_and_resize);
  library.impl("_local_scalar_dense", &local_scalar_dense);
  library.impl("native_batch_norm", &batch_norm);
  library.impl("convolution_overrideable", &convolution);
  library.impl("convolution_backward_overrideable", &convolution_backward);
}

TORCH_LIBRARY(stand_in, library) {
  static StandInHooks hooks;
  at::RegisterPrivateUse1HooksInterface(&hooks);
  library.def("take_waits() -> str[]", &take_waits);
}
