// The selective scan on a CPU: forward and backward, each one operator of torch, float32 and float64.
//
// In: what scan.py's `selective_scan` takes, contiguous. Out: y, the last state, and for the backward the state
// before every SEGMENT-th frame: the backward recomputes what lies between from there, in the cache, because
// writing down every state costs more than computing it twice.
//
// A vector holds one state value of neighbouring channels, so sums over state values need no shuffles. What a
// reader gets wrong: every sum is taken in an order that follows from the shapes alone, so results do not depend
// on the number of threads; `groups_of` must never ask for it.
//
// Legend: B batch, T time, I inner channels, N state values of a channel (padded to a multiple of GROUP).

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <tuple>
#include <vector>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace {

using at::Tensor;

#if defined(__AVX512F__)
constexpr int BYTES = 64, GROUP = 8;
#elif defined(__AVX__)
constexpr int BYTES = 32, GROUP = 4;
#else
constexpr int BYTES = 16, GROUP = 4;
#endif
// GROUP: state values that are carried in registers together.

constexpr int64_t SEGMENT = 16;

template <typename T>
struct Simd;

template <>
struct Simd<float> {
  typedef float Vector __attribute__((vector_size(BYTES)));
  typedef int32_t Bits __attribute__((vector_size(BYTES)));
  static constexpr int MANTISSA = 23;
  static constexpr float LOWEST = -125;
  // 2^f - 1 on [-1/2, 1/2] as f times a polynomial, relative error 9e-8 (minimax): nothing added at f = 0, so that
  // a frame without a step leaves the state as it was.
  static constexpr float COEFFICIENTS[] = {
      0.69314697759899203815f,   0.2402224208537670947f,   0.055507337434700852738f,
      0.0096715126399564551514f, 0.001326472714007201332f,
  };
};

template <>
struct Simd<double> {
  typedef double Vector __attribute__((vector_size(BYTES)));
  typedef int64_t Bits __attribute__((vector_size(BYTES)));
  static constexpr int MANTISSA = 52;
  static constexpr double LOWEST = -1020;
  // Relative error 3e-18.
  static constexpr double COEFFICIENTS[] = {
      0.69314718055994532581,    0.2402265069591013126,     0.055504108664820083227,   0.0096181291075941200896,
      0.0013333558146774620517,  0.0001540353045711209086,  0.000015252733493127489347, 1.3215435282308487999e-6,
      1.0178199571842137974e-7,  7.0737832485031332991e-9,  4.4347712982003767083e-10,
  };
};

constexpr double LOG2_E = 1.44269504088896340736, LN_2 = 0.69314718055994530942;

template <typename T>
using Vec = typename Simd<T>::Vector;

template <typename T>
constexpr int LANES = BYTES / sizeof(T);

// 2^x for x below 127 (here at most 0); what would be under 2^LOWEST is 2^LOWEST.
template <typename T>
inline Vec<T> exp2(Vec<T> x) {
  using S = Simd<T>;
  using Bits = typename S::Bits;
  constexpr T ROUND = T(3) * T(int64_t(1) << (S::MANTISSA - 1));  // a sum with it has the integer in its low bits
  x = x < S::LOWEST ? Vec<T>{} + S::LOWEST : x;
  const Vec<T> rounded = x + ROUND;
  const Vec<T> f = x - (rounded - ROUND);
  constexpr int DEGREE = sizeof(S::COEFFICIENTS) / sizeof(T);
  Vec<T> p = Vec<T>{} + S::COEFFICIENTS[DEGREE - 1];
#pragma GCC unroll 8
  for (int k = DEGREE - 2; k >= 0; --k) p = p * f + S::COEFFICIENTS[k];
  p = p * f + T(1);
  return (Vec<T>)((Bits)p + ((Bits)rounded << S::MANTISSA));
}

template <typename T>
inline Vec<T> load(const T* from, int64_t count) {
  Vec<T> v{};
  std::memcpy(&v, from, count == LANES<T> ? sizeof(v) : count * sizeof(T));
  return v;
}

template <typename T>
inline void store(T* to, Vec<T> v, int64_t count) {
  std::memcpy(to, &v, count == LANES<T> ? sizeof(v) : count * sizeof(T));
}

// The next block's frames lie a row apart, where no hardware looks for them.
template <typename T>
inline void fetch_next(const T* from) {
  __builtin_prefetch(from + LANES<T>);
}

template <typename T>
inline void fetch_to_write(T* to) {
  __builtin_prefetch(to, 1);
}

template <typename T, int COUNT>
struct Few {
  typedef T Vector __attribute__((vector_size(COUNT * sizeof(T))));
};

template <typename T, int COUNT = LANES<T>>
inline T total(typename Few<T, COUNT>::Vector v) {
  if constexpr (COUNT == 2) {
    return v[0] + v[1];
  } else {
    typename Few<T, COUNT / 2>::Vector halves[2];
    std::memcpy(halves, &v, sizeof(v));
    return total<T, COUNT / 2>(halves[0] + halves[1]);
  }
}

// Results that are too small for a normal number cost a hundred cycles each; as zero they cost none.
class FlushTiny {
#if defined(__SSE__)
 public:
  FlushTiny() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushTiny() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#endif
};

void check(const Tensor& part, const char* name, const Tensor& u, at::IntArrayRef sizes) {
  TORCH_CHECK(part.device().is_cpu() && part.is_contiguous() && part.scalar_type() == u.scalar_type() &&
                  part.sizes() == sizes,
              "scan: ", name, " is ", part.sizes(), " of ", part.scalar_type(), ", expected contiguous ", sizes,
              " of ", u.scalar_type(), " on a CPU");
}

struct Shape {
  int64_t B, T, I, N;
  int64_t padded;    // N, up to a multiple of GROUP
  int64_t blocks;    // vectors of channels
  int64_t segments;  // of at most SEGMENT frames
  int64_t groups;    // of blocks, each with a row one unit of parallel work
  int64_t in_group;  // blocks

  int64_t first(int64_t group) const { return group * in_group; }
  int64_t last(int64_t group) const { return std::min(blocks, (group + 1) * in_group); }
  int64_t frames(int64_t segment) const { return std::min(SEGMENT, T - segment * SEGMENT); }

  template <typename U>
  int64_t kept() const {
    return B * segments * blocks * padded * LANES<U>;
  }
};

// Work for many threads, and blocks enough in a group that adding up over its channels is cheap.
int64_t groups_of(int64_t rows, int64_t blocks) {
  const int64_t wanted = (32 + rows - 1) / std::max<int64_t>(rows, 1);
  return std::max<int64_t>(1, std::min((blocks + 3) / 4, wanted));
}

template <typename T>
Shape shape_of(const Tensor& u, const Tensor& A) {
  Shape s{};
  s.B = u.size(0), s.T = u.size(1), s.I = u.size(2), s.N = A.size(1);
  s.padded = (s.N + GROUP - 1) / GROUP * GROUP;
  s.blocks = (s.I + LANES<T> - 1) / LANES<T>;
  s.segments = (s.T + SEGMENT - 1) / SEGMENT;
  const int64_t groups = groups_of(s.B, s.blocks);
  s.in_group = (s.blocks + groups - 1) / std::max<int64_t>(groups, 1);
  s.groups = s.in_group ? (s.blocks + s.in_group - 1) / s.in_group : 0;
  return s;
}

// [I, N] of one row to [padded, LANES] of one block, and back.
template <typename T>
void gather(const T* from_IN, const Shape& s, int64_t block, T scale, Vec<T>* to) {
  const int64_t count = std::min<int64_t>(LANES<T>, s.I - block * LANES<T>);
  for (int64_t n = 0; n < s.padded; ++n) to[n] = Vec<T>{};
  for (int64_t l = 0; l < count; ++l)
    for (int64_t n = 0; n < s.N; ++n) to[n][l] = from_IN[(block * LANES<T> + l) * s.N + n] * scale;
}

template <typename T>
void scatter(const Vec<T>* from, const Shape& s, int64_t block, T* to_IN) {
  const int64_t count = std::min<int64_t>(LANES<T>, s.I - block * LANES<T>);
  for (int64_t l = 0; l < count; ++l)
    for (int64_t n = 0; n < s.N; ++n) to_IN[(block * LANES<T> + l) * s.N + n] = from[n][l];
}

// The decays of all channels by block, in powers of two.
template <typename T>
std::vector<Vec<T>> decays(const Tensor& A, const Shape& s) {
  std::vector<Vec<T>> out(s.blocks * s.padded);
  for (int64_t block = 0; block < s.blocks; ++block)
    gather<T>(A.const_data_ptr<T>(), s, block, T(LOG2_E), &out[block * s.padded]);
  return out;
}

// [T, N] of one row to [T, padded].
template <typename T>
std::vector<T> pad(const T* from_TN, const Shape& s) {
  std::vector<T> out(s.T * s.padded);
  for (int64_t t = 0; t < s.T; ++t) std::copy_n(from_TN + t * s.N, s.N, &out[t * s.padded]);
  return out;
}

template <typename T>
T* kept_at(T* kept, const Shape& s, int64_t b, int64_t block, int64_t segment) {
  return kept + ((b * s.segments + segment) * s.blocks + block) * s.padded * LANES<T>;
}

template <typename T>
void forward_group(const Shape& s, int64_t b, int64_t group, const Tensor& u, const Tensor& dt, const Tensor& B,
                   const Tensor& C, const Tensor& D, const std::optional<Tensor>& state,
                   const std::vector<Vec<T>>& decay, Tensor& y, Tensor& last, T* kept) {
  const T* u_TI = u.const_data_ptr<T>() + b * s.T * s.I;
  const T* dt_TI = dt.const_data_ptr<T>() + b * s.T * s.I;
  T* y_TI = y.mutable_data_ptr<T>() + b * s.T * s.I;
  const std::vector<T> B_TN = pad(B.const_data_ptr<T>() + b * s.T * s.N, s);
  const std::vector<T> C_TN = pad(C.const_data_ptr<T>() + b * s.T * s.N, s);
  std::vector<Vec<T>> h((s.last(group) - s.first(group)) * s.padded);
  if (state)
    for (int64_t block = s.first(group); block < s.last(group); ++block)
      gather<T>(state->const_data_ptr<T>() + b * s.I * s.N, s, block, T(1), &h[(block - s.first(group)) * s.padded]);

  for (int64_t segment = 0; segment < s.segments; ++segment) {
    const int64_t start = segment * SEGMENT, frames = s.frames(segment);
    for (int64_t block = s.first(group); block < s.last(group); ++block) {
      const int64_t channel = block * LANES<T>, count = std::min<int64_t>(LANES<T>, s.I - channel);
      const Vec<T>* decay_N = &decay[block * s.padded];
      Vec<T>* h_N = &h[(block - s.first(group)) * s.padded];
      if (kept) std::memcpy(kept_at(kept, s, b, block, segment), h_N, s.padded * sizeof(Vec<T>));
      const Vec<T> d = load(D.const_data_ptr<T>() + channel, count);
      Vec<T> dt_K[SEGMENT], in_K[SEGMENT], y_K[SEGMENT];
      for (int64_t k = 0; k < frames; ++k) {
        const int64_t at = (start + k) * s.I + channel;
        const Vec<T> u_k = load(u_TI + at, count);
        dt_K[k] = load(dt_TI + at, count);
        in_K[k] = dt_K[k] * u_k;
        y_K[k] = d * u_k;
        fetch_next(u_TI + at);
        fetch_next(dt_TI + at);
        fetch_to_write(y_TI + at);
      }
      for (int64_t first = 0; first < s.padded; first += GROUP) {
        Vec<T> h[GROUP];
        for (int n = 0; n < GROUP; ++n) h[n] = h_N[first + n];
        for (int64_t k = 0; k < frames; ++k) {
          const T *B_N = &B_TN[(start + k) * s.padded + first], *C_N = &C_TN[(start + k) * s.padded + first];
          Vec<T> y_k = y_K[k];
#pragma GCC unroll 8
          for (int n = 0; n < GROUP; ++n) {
            h[n] = exp2<T>(dt_K[k] * decay_N[first + n]) * h[n] + in_K[k] * B_N[n];
            y_k += h[n] * C_N[n];
          }
          y_K[k] = y_k;
        }
        for (int n = 0; n < GROUP; ++n) h_N[first + n] = h[n];
      }
      for (int64_t k = 0; k < frames; ++k) store(y_TI + (start + k) * s.I + channel, y_K[k], count);
    }
  }
  for (int64_t block = s.first(group); block < s.last(group); ++block)
    scatter<T>(&h[(block - s.first(group)) * s.padded], s, block, last.mutable_data_ptr<T>() + b * s.I * s.N);
}

template <typename T>
std::tuple<Tensor, Tensor, Tensor> forward_of(const Tensor& u, const Tensor& dt, const Tensor& A, const Tensor& B,
                                              const Tensor& C, const Tensor& D, const std::optional<Tensor>& state,
                                              bool keep) {
  const Shape s = shape_of<T>(u, A);
  Tensor y = at::empty(u.sizes(), u.options());
  Tensor last = at::empty({s.B, s.I, s.N}, u.options());
  Tensor kept = at::empty({keep ? s.kept<T>() : 0}, u.options());
  T* kept_data = keep ? kept.mutable_data_ptr<T>() : nullptr;
  const std::vector<Vec<T>> decay = decays<T>(A, s);
  at::parallel_for(0, s.B * s.groups, 1, [&](int64_t begin, int64_t end) {
    const FlushTiny flush;
    for (int64_t unit = begin; unit < end; ++unit)
      forward_group<T>(s, unit / s.groups, unit % s.groups, u, dt, B, C, D, state, decay, y, last, kept_data);
  });
  return {y, last, kept};
}

// What a unit of work adds up for others to finish.
template <typename T>
struct Sums {
  std::vector<Vec<T>> A;  // [B, blocks, padded]
  std::vector<Vec<T>> D;  // [B, blocks]
  std::vector<T> B, C;    // [groups, B, T, padded]
};

struct Gradients {
  Tensor u, dt, A, B, C, D, state;
};

template <typename T>
void backward_group(const Shape& s, int64_t b, int64_t group, const Tensor& gy, const std::optional<Tensor>& glast,
                    const Tensor& u, const Tensor& dt, const Tensor& B, const Tensor& C, const Tensor& D,
                    const std::vector<Vec<T>>& decay, const T* kept, Sums<T>& sums, Gradients& out) {
  const int64_t row = b * s.T * s.I;
  const T *u_TI = u.const_data_ptr<T>() + row, *dt_TI = dt.const_data_ptr<T>() + row;
  const T* gy_TI = gy.const_data_ptr<T>() + row;
  T *gu_TI = out.u.mutable_data_ptr<T>() + row, *gdt_TI = out.dt.mutable_data_ptr<T>() + row;
  const std::vector<T> B_TN = pad(B.const_data_ptr<T>() + b * s.T * s.N, s);
  const std::vector<T> C_TN = pad(C.const_data_ptr<T>() + b * s.T * s.N, s);
  T* gB_TN = &sums.B[(group * s.B + b) * s.T * s.padded];
  T* gC_TN = &sums.C[(group * s.B + b) * s.T * s.padded];

  const int64_t blocks = s.last(group) - s.first(group);
  std::vector<Vec<T>> gh(blocks * s.padded);  // the gradient of the state, carried backwards through time
  if (glast)
    for (int64_t i = 0; i < blocks; ++i)
      gather<T>(glast->const_data_ptr<T>() + b * s.I * s.N, s, s.first(group) + i, T(1), &gh[i * s.padded]);
  std::vector<Vec<T>> gB_KN(SEGMENT * s.padded), gC_KN(SEGMENT * s.padded);

  for (int64_t segment = s.segments - 1; segment >= 0; --segment) {
    const int64_t start = segment * SEGMENT, frames = s.frames(segment);
    std::fill(gB_KN.begin(), gB_KN.end(), Vec<T>{});
    std::fill(gC_KN.begin(), gC_KN.end(), Vec<T>{});
    for (int64_t block = s.first(group); block < s.last(group); ++block) {
      const int64_t channel = block * LANES<T>, count = std::min<int64_t>(LANES<T>, s.I - channel);
      const Vec<T>* decay_N = &decay[block * s.padded];
      const T* kept_N = kept_at(kept, s, b, block, segment);
      Vec<T>* gh_N = &gh[(block - s.first(group)) * s.padded];
      Vec<T>* gA_N = &sums.A[(b * s.blocks + block) * s.padded];
      Vec<T> u_K[SEGMENT], dt_K[SEGMENT], gy_K[SEGMENT];
      Vec<T> gin_K[SEGMENT], gexponent_K[SEGMENT];  // of dt u, and of the exponent's dt
      for (int64_t k = 0; k < frames; ++k) {
        const int64_t at = (start + k) * s.I + channel;
        u_K[k] = load(u_TI + at, count);
        dt_K[k] = load(dt_TI + at, count);
        gy_K[k] = load(gy_TI + at, count);
        gin_K[k] = gexponent_K[k] = Vec<T>{};
        fetch_next(u_TI + at);
        fetch_next(dt_TI + at);
        fetch_next(gy_TI + at);
        fetch_to_write(gu_TI + at);
        fetch_to_write(gdt_TI + at);

      }
      for (int64_t first = 0; first < s.padded; first += GROUP) {
        Vec<T> a_KN[SEGMENT][GROUP], decayed_KN[SEGMENT][GROUP];  // exp(dt A), and the state times it
        Vec<T> h[GROUP];
        for (int n = 0; n < GROUP; ++n) h[n] = load(kept_N + (first + n) * LANES<T>, LANES<T>);
        for (int64_t k = 0; k < frames; ++k) {
          const T* B_N = &B_TN[(start + k) * s.padded + first];
          Vec<T>* gC_N = &gC_KN[k * s.padded + first];
          const Vec<T> in = dt_K[k] * u_K[k];
#pragma GCC unroll 8
          for (int n = 0; n < GROUP; ++n) {
            a_KN[k][n] = exp2<T>(dt_K[k] * decay_N[first + n]);
            decayed_KN[k][n] = a_KN[k][n] * h[n];
            h[n] = decayed_KN[k][n] + in * B_N[n];
            gC_N[n] += gy_K[k] * h[n];
          }
        }
        Vec<T> g[GROUP], gA[GROUP];
        for (int n = 0; n < GROUP; ++n) g[n] = gh_N[first + n], gA[n] = gA_N[first + n];
        for (int64_t k = frames - 1; k >= 0; --k) {
          const T *B_N = &B_TN[(start + k) * s.padded + first], *C_N = &C_TN[(start + k) * s.padded + first];
          Vec<T>* gB_N = &gB_KN[k * s.padded + first];
          const Vec<T> in = dt_K[k] * u_K[k];
          Vec<T> gin = gin_K[k], gexponent = gexponent_K[k];
#pragma GCC unroll 8
          for (int n = 0; n < GROUP; ++n) {
            g[n] += gy_K[k] * C_N[n];
            gB_N[n] += g[n] * in;
            gin += g[n] * B_N[n];
            const Vec<T> gpower = g[n] * decayed_KN[k][n];  // of the exponent dt A
            gexponent += gpower * decay_N[first + n];
            gA[n] += gpower * dt_K[k];
            g[n] *= a_KN[k][n];
          }
          gin_K[k] = gin, gexponent_K[k] = gexponent;
        }
        for (int n = 0; n < GROUP; ++n) gh_N[first + n] = g[n], gA_N[first + n] = gA[n];
      }
      const Vec<T> d = load(D.const_data_ptr<T>() + channel, count);
      Vec<T> gD = sums.D[b * s.blocks + block];
      for (int64_t k = 0; k < frames; ++k) {
        const int64_t at = (start + k) * s.I + channel;
        store(gu_TI + at, gin_K[k] * dt_K[k] + gy_K[k] * d, count);
        store(gdt_TI + at, gin_K[k] * u_K[k] + gexponent_K[k] * T(LN_2), count);
        gD += gy_K[k] * u_K[k];
      }
      sums.D[b * s.blocks + block] = gD;
    }
    for (int64_t k = 0; k < frames; ++k)
      for (int64_t n = 0; n < s.padded; ++n) {
        gB_TN[(start + k) * s.padded + n] = total<T>(gB_KN[k * s.padded + n]);
        gC_TN[(start + k) * s.padded + n] = total<T>(gC_KN[k * s.padded + n]);
      }
  }
  for (int64_t block = s.first(group); block < s.last(group); ++block)
    scatter<T>(&gh[(block - s.first(group)) * s.padded], s, block, out.state.mutable_data_ptr<T>() + b * s.I * s.N);
}

template <typename T>
void finish_channels(const Shape& s, int64_t block, const Sums<T>& sums, Gradients& out) {
  std::vector<Vec<T>> gA_N(s.padded);
  Vec<T> gD{};
  for (int64_t b = 0; b < s.B; ++b) {
    for (int64_t n = 0; n < s.padded; ++n) gA_N[n] += sums.A[(b * s.blocks + block) * s.padded + n];
    gD += sums.D[b * s.blocks + block];
  }
  scatter<T>(gA_N.data(), s, block, out.A.mutable_data_ptr<T>());
  store(out.D.mutable_data_ptr<T>() + block * LANES<T>, gD, std::min<int64_t>(LANES<T>, s.I - block * LANES<T>));
}

template <typename T>
void finish_frame(const Shape& s, int64_t frame, const std::vector<T>& sum, Tensor& out) {
  T* out_N = out.mutable_data_ptr<T>() + frame * s.N;
  std::fill_n(out_N, s.N, T(0));
  for (int64_t group = 0; group < s.groups; ++group)
    for (int64_t n = 0; n < s.N; ++n) out_N[n] += sum[(group * s.B * s.T + frame) * s.padded + n];
}

template <typename T>
Gradients backward_of(const Tensor& gy, const std::optional<Tensor>& glast, const Tensor& u, const Tensor& dt,
                      const Tensor& A, const Tensor& B, const Tensor& C, const Tensor& D, const Tensor& kept) {
  const Shape s = shape_of<T>(u, A);
  check(kept, "kept", u, {s.kept<T>()});
  Gradients out{at::empty(u.sizes(), u.options()), at::empty(u.sizes(), u.options()),
                at::empty(A.sizes(), u.options()), at::empty(B.sizes(), u.options()),
                at::empty(B.sizes(), u.options()), at::empty(D.sizes(), u.options()),
                at::empty({s.B, s.I, s.N}, u.options())};
  Sums<T> sums{std::vector<Vec<T>>(s.B * s.blocks * s.padded), std::vector<Vec<T>>(s.B * s.blocks),
               std::vector<T>(s.groups * s.B * s.T * s.padded), std::vector<T>(s.groups * s.B * s.T * s.padded)};
  const std::vector<Vec<T>> decay = decays<T>(A, s);
  at::parallel_for(0, s.B * s.groups, 1, [&](int64_t begin, int64_t end) {
    const FlushTiny flush;
    for (int64_t unit = begin; unit < end; ++unit)
      backward_group<T>(s, unit / s.groups, unit % s.groups, gy, glast, u, dt, B, C, D, decay,
                        kept.const_data_ptr<T>(), sums, out);
  });
  at::parallel_for(0, s.blocks, 4, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) finish_channels<T>(s, block, sums, out);
  });
  at::parallel_for(0, s.B * s.T, 256, [&](int64_t begin, int64_t end) {
    for (int64_t frame = begin; frame < end; ++frame) {
      finish_frame<T>(s, frame, sums.B, out.B);
      finish_frame<T>(s, frame, sums.C, out.C);
    }
  });
  return out;
}

void check_inputs(const Tensor& u, const Tensor& dt, const Tensor& A, const Tensor& B, const Tensor& C,
                  const Tensor& D) {
  TORCH_CHECK(u.scalar_type() == at::kFloat || u.scalar_type() == at::kDouble, "scan: u is ", u.scalar_type());
  TORCH_CHECK(u.dim() == 3 && A.dim() == 2, "scan: u has ", u.dim(), " axes and A ", A.dim());
  const int64_t rows = u.size(0), frames = u.size(1), inner = u.size(2), width = A.size(1);
  check(u, "u", u, {rows, frames, inner});
  check(dt, "dt", u, {rows, frames, inner});
  check(A, "A", u, {inner, width});
  check(B, "B", u, {rows, frames, width});
  check(C, "C", u, {rows, frames, width});
  check(D, "D", u, {inner});
}

std::tuple<Tensor, Tensor, Tensor> scan_forward(const Tensor& u, const Tensor& dt, const Tensor& A, const Tensor& B,
                                                const Tensor& C, const Tensor& D,
                                                const std::optional<Tensor>& state, bool keep) {
  check_inputs(u, dt, A, B, C, D);
  if (state) check(*state, "state", u, {u.size(0), u.size(2), A.size(1)});
  return u.scalar_type() == at::kDouble ? forward_of<double>(u, dt, A, B, C, D, state, keep)
                                        : forward_of<float>(u, dt, A, B, C, D, state, keep);
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> scan_backward(
    const Tensor& gy, const std::optional<Tensor>& glast, const Tensor& u, const Tensor& dt, const Tensor& A,
    const Tensor& B, const Tensor& C, const Tensor& D, const Tensor& kept) {
  check_inputs(u, dt, A, B, C, D);
  check(gy, "gy", u, u.sizes());
  if (glast) check(*glast, "glast", u, {u.size(0), u.size(2), A.size(1)});
  Gradients g = u.scalar_type() == at::kDouble ? backward_of<double>(gy, glast, u, dt, A, B, C, D, kept)
                                               : backward_of<float>(gy, glast, u, dt, A, B, C, D, kept);
  return {g.u, g.dt, g.A, g.B, g.C, g.D, g.state};
}

}  // namespace

TORCH_LIBRARY(exphil, m) {
  m.def(
      "scan_forward(Tensor u, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor D, Tensor? state, bool keep) "
      "-> (Tensor y, Tensor last, Tensor kept)");
  m.def(
      "scan_backward(Tensor gy, Tensor? glast, Tensor u, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor D, "
      "Tensor kept) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(exphil, CPU, m) {
  m.impl("scan_forward", &scan_forward);
  m.impl("scan_backward", &scan_backward);
}
