"""One small model for every fragment of the library, as text: what calls it, and what the result is compared with."""

from __future__ import annotations

SIZES = {"D": 3, "H": 2, "C": 3, "V": 5, "L": 2, "A": 2, "N": 2}
SEQUENCE = "input x[t, D]"
VECTOR = "input x[D]"
INNER = "input x[t, D]\nv[t] = elman(x[t], H)"
ENCODED = "input x[t, D]\ninput z[s, D]\ne[s] = elman(z[s], H)\nd[t] = elman(x[t], H, h0 = e[last])"


def cell(name: str, size: str = "H", more: str = "") -> tuple[str, str, str]:
    """A fragment along t."""
    return SEQUENCE, f"q[t] = {name}(x[t], H{more})", f"t, {size}"


def layer(call: str, size: str = "H") -> tuple[str, str, str]:
    """A fragment without time, after a layer of its own, so that its input has a gradient."""
    return f"{VECTOR}\nparam P[D, D] ~ normal(0.5)\nv = P @ x", f"q = {call}", size


def attention(call: str, size: str = "H") -> tuple[str, str, str]:
    """Attention to an encoder: after the decoder's loop."""
    return ENCODED, f"q[t] = {call}", f"t, {size}"


CELLS = ("elman", "irnn", "elman2", "mi_rnn", "gru", "gru_plain", "gru_after", "gru_after_plain", "mgu", "qrnn", "lstm",
         "lstm_plain", "lstm_peephole", "lstm_coupled", "lstm_layer_norm", "mlstm", "rnn_torch", "lstm_torch", "gru_torch",
         "rnn_keras", "lstm_keras", "gru_keras")
FRAGMENTS = {
    **{name: cell(name) for name in CELLS},
    "lstm_torch_bidirectional": cell("lstm_torch_bidirectional", "2*H"),
    "gru_torch_bidirectional": cell("gru_torch_bidirectional", "2*H"),
    "stacked": cell("stacked", more=", L, gru"),
    "bidirectional": cell("bidirectional", "2*H"),
    "stacked_bidirectional": cell("stacked_bidirectional", "2*H", ", L, gru"),
    "stacked_residual": cell("stacked_residual", more=", L, mgu"),
    "stacked_bidirectional_residual": cell("stacked_bidirectional_residual", "2*H", ", L"),
    "gru_cell": (SEQUENCE, "q[t] = gru_cell(x[t], q[t-1], H) where q[-1] = 0", "t, H"),
    "lstm_cell": (SEQUENCE, "(q[t], c[t]) = lstm_cell(x[t], q[t-1], c[t-1], H) where q[-1] = 0, c[-1] = 0", "t, H"),
    "lstm_ifgo": (f"{SEQUENCE}\nparam W[4*H, D], U[4*H, H], b, d [4*H] ~ normal(0.5)",
                  "q[t] = lstm_ifgo(x[t], H, W, U, b, d)", "t, H"),
    "gru_rzn": (f"{SEQUENCE}\nparam W[3*H, D], U[3*H, H], b, d [3*H] ~ normal(0.5)",
                "q[t] = gru_rzn(x[t], H, W, U, b, d)", "t, H"),
    "attention_dot": attention("attention_dot(d[t], e[s])"),
    "attention_general": attention("attention_general(d[t], e[s])"),
    "attention_additive": attention("attention_additive(d[t], e[s], A)"),
    "attention_scaled": attention("attention_scaled(d[t], e[s], A)", "A"),
    "attention_heads": attention("attention_heads(d[t], e[s], N, A)"),
    "self_attention": (INNER, "q[t] = self_attention(v[t], A)", "t, A"),
    "self_attention_heads": (INNER, "q[t] = self_attention_heads(v[t], N, A)", "t, H"),
    "dense": layer("dense(v, H, tanh)"), "dense_relu": layer("dense_relu(v, H)"), "linear": layer("linear(v, H)"),
    "embedding": ("input x : class(V)", "q = embedding(x, V, H)", "H"), "mlp": layer("mlp(v, H, C)", "C"),
    "residual": layer("residual(v, H)", "D"), "residual_projection": layer("residual_projection(v, H, C)", "C"),
    "batch_norm": layer("batch_norm(v)", "D"), "batch_norm_average": layer("batch_norm_average(v)", "D"),
    "layer_norm": layer("layer_norm(v)", "D"), "drop_connect": layer("drop_connect(v, H, 0.5)"),
}


def image(call: str, size: str, channels: str = "C") -> tuple[str, str, str]:
    """A block for images, after a convolution of its own, so that its input has a gradient."""
    return f"input x[{channels}, 5, 4]\nparam P[{channels}, {channels}, 2, 2] ~ normal(0.5)\nv = conv(x, P)", f"q = {call}", size


def series(call: str, size: str) -> tuple[str, str, str]:
    """The same in one dimension."""
    return "input x[D, 6]\nparam P[C, D, 2] ~ normal(0.5)\nv = conv(x, P)", f"q = {call}", size


IMAGES = {                                               # the image is (C, 4, 3), the series (C, 5)
    "conv_block": image("conv_block(v, H, 3, f = tanh)", "H, 4, 3"), "conv_relu": image("conv_relu(v, H, 2, 2)", "H, 2, 2"),
    "conv_valid": image("conv_valid(v, H, 2, f = tanh)", "H, 3, 2"), "conv_up": image("conv_up(v, H)", "H, 8, 6"),
    "batch_norm_channels": image("batch_norm_channels(v)", "C, 4, 3"),
    "layer_norm_channels": image("layer_norm_channels(v)", "C, 4, 3"), "conv_norm": image("conv_norm(v, H)", "H, 4, 3"),
    "residual_conv": image("residual_conv(v)", "C, 4, 3"),
    "residual_conv_projection": image("residual_conv_projection(v, H)", "H, 2, 2"),
    "depthwise_separable": image("depthwise_separable(v, H)", "H, 4, 3"),
    "conv_time": cell("conv_time", more=", 3, 1, tanh"),
    "conv_series": series("conv_series(v, H)", "H, 5"), "conv_causal": series("conv_causal(v, H, 2, 2)", "H, 5"),
    "conv_sentence": series("conv_sentence(v, H)", "H"), "lenet_head": image("lenet_head(v, H)", "H"),
}
FRAGMENTS |= IMAGES
COMPILED = tuple(FRAGMENTS)
RECURRENT = tuple(name for name, (_, equation, _) in FRAGMENTS.items() if "[t]" in equation)


def text(name: str) -> str:
    """A model around the fragment; its loss compares the result with a target of its shape."""
    before, equation, shape = FRAGMENTS[name]
    q, y = ("q[t]", "y[t]") if shape.startswith("t") else ("q", "y")
    mean = "mean[t] " if shape.startswith("t") else ""
    sizes = ", ".join(f"{k} = {v}" for k, v in SIZES.items())
    return (f"model {name}_({sizes})\n{before}\ntarget y[{shape}]\n{equation}\n"
            f"loss = {mean}squares({q}, {y})\noutput q\n")
