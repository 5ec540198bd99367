"""How does a GRU run as fast as the machine multiplies?

cuDNN knows on a GPU; on a CPU PyTorch's own GRU multiplies a layer's weights frame by frame, T
small weight gradients included. Here a layer is two operators, forward and backward: one product
for the inputs of all frames, one per frame for the state, and in the backward pass one product of
T x B rows for each weight's gradient. As operators they are to the autograd engine, to
`torch.compile` and to a count of launches what cuDNN's are: one call.

Under `torch.autocast` products are taken in its type; on the CPU states, gates and sums stay in
float32, on a GPU they are as cuDNN has them.

Shapes: B windows, T frames, I inputs, H hidden units. Inside, time comes first: (T, B, ...). Gates
lie side by side as `nn.GRU` has them: reset r, update z, new n.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from vibe_ray.models.packed_linear import linear, repeated_linear
from vibe_ray.models.pieces import Sliceable

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""Of one layer in one direction, as `nn.GRU` calls and orders them."""


class GRU(nn.RNNBase):
    """Stands for `nn.GRU`, batch first and from a state of zero: same weights, names and answers.

    Not derived from it: `torch.compile` passes by every module that contains one.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, bidirectional: bool = False
    ) -> None:
        super().__init__(
            *("GRU", input_size, hidden_size, num_layers),
            batch_first=True,
            bidirectional=bidirectional,
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the last layer's states (B, T, H), or (B, T, 2H), of inputs (B, T, I)."""
        if inputs.device.type != "cpu":
            return _whole_gru(self, inputs, None)[0]
        states = inputs.transpose(0, 1)
        for layer in range(self.num_layers):
            directions = [self._direction(f"l{layer}", states, reverse=False)]
            if self.bidirectional:
                directions.append(self._direction(f"l{layer}_reverse", states, reverse=True))
            states = torch.cat(directions, dim=-1) if self.bidirectional else directions[0]
        return states.transpose(0, 1).contiguous()

    @torch.no_grad()
    def go_on(self, inputs: Tensor, last: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run over the next frames of a sequence, without gradients; in one direction only.

        Args:
            inputs: (B, T, I).
            last: What the call for the frames before returned (layers, B, H); None at first.

        Returns:
            The last layer's states (B, T, H), and every layer's last one.
        """
        assert not self.bidirectional
        if inputs.device.type != "cpu":
            return _whole_gru(self, inputs, last)
        states, ends = inputs.transpose(0, 1), []
        for layer in range(self.num_layers):
            before = None if last is None else last[layer]
            states = self._direction(f"l{layer}", states, reverse=False, last=before)
            ends.append(states[-1])
        return states.transpose(0, 1).contiguous(), torch.stack(ends)

    @torch.no_grad()
    def both_ways(self, inputs: Sliceable, length: int) -> Tensor:
        """Run over a sequence in both directions, without gradients.

        Only states of all frames are held, and the rest of `length` frames: a device other than the
        CPU holds all.

        Args:
            inputs: (N, I), of any float type.
            length: Frames that are run over at a time.

        Returns:
            The last layer's states (N, 2H).
        """
        weight = self.weight_ih_l0
        assert isinstance(weight, Tensor)
        if weight.device.type != "cpu":
            return _whole_gru(self, inputs[:].to(weight)[None], None)[0][0]
        num_frames, H = len(inputs), self.hidden_size
        pieces = [slice(start, start + length) for start in range(0, num_frames, length)]
        for layer in range(self.num_layers):
            states = weight.new_empty(num_frames, 2 * H)
            for name, way, half in (("", pieces, 0), ("_reverse", pieces[::-1], H)):
                last = None
                for piece in way:
                    x, reverse = inputs[piece].to(weight)[:, None], bool(name)
                    found = self._direction(f"l{layer}{name}", x, reverse=reverse, last=last)
                    last = found[0 if reverse else -1].clone()
                    states[piece, half : half + H] = found[:, 0]
            inputs = states
        return states

    def _direction(
        self, name: str, inputs: Tensor, *, reverse: bool, last: Tensor | None = None
    ) -> Tensor:
        """Run one layer in one direction: (T, B, I) -> (T, B, H)."""
        w_ih, w_hh, b_ih, b_hh = (getattr(self, f"{kind}_{name}") for kind in WEIGHTS)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else w_ih.dtype
        x = inputs.to(dtype).contiguous()
        states: Tensor = gru_layer(x, w_ih.to(dtype), w_hh.to(dtype), b_ih, b_hh, reverse, last)[0]
        return states


def _whole_gru(gru: GRU, inputs: Tensor, last: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run a device's own implementation; see `whole_gru.py`, which imports PyTorch's compiler."""
    from vibe_ray.models.whole_gru import whole_gru

    found: tuple[Tensor, Tensor] = whole_gru(gru, inputs, last)
    return found


@torch.library.custom_op("vibe_ray::gru_layer", mutates_args=())
def gru_layer(  # noqa: PLR0913  # operators take no structures
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
    reverse: bool,
    last: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer in one direction.

    Args:
        x: Inputs (T, B, I), contiguous.
        w_ih: (3H, I), of the type of `x`, in which products are taken.
        w_hh: (3H, H), likewise.
        b_ih: (3H,), of the type of the results.
        b_hh: (3H,), likewise.
        reverse: Whether time runs backwards.
        last: State (B, H) to begin from, zero if None; then there are no gradients.

    Returns:
        States (T, B, H), and for the backward pass the gates (T, B, 3H) and the state's part of the
        new gate before it is reset (T, B, H).
    """
    T, B, _ = x.shape
    H = w_hh.shape[1]
    gates = linear(x.view(T * B, -1), w_ih, b_ih).view(T, B, 3 * H)
    recur = repeated_linear(w_hh, b_hh, rows=B, times=T)
    states, hidden = gates.new_empty(T, B, H), gates.new_empty(T, B, H)
    h = last
    for t in _order(T, reverse):
        from_state = b_hh.expand(B, -1) if h is None else recur(h)
        reset_update, n = gates[t].split([2 * H, H], dim=1)
        r, z = reset_update.add_(from_state[:, : 2 * H]).sigmoid_().chunk(2, dim=1)
        n.addcmul_(r, hidden[t].copy_(from_state[:, 2 * H :])).tanh_()
        if h is None:
            h = torch.addcmul(n, z, n, value=-1, out=states[t])
        else:
            h = torch.lerp(n, h, z, out=states[t])  # n + z (h - n)
    return states, gates, hidden


@torch.library.custom_op("vibe_ray::gru_layer_backward", mutates_args=())
def gru_layer_backward(
    grad: Tensor, saved: Sequence[Tensor], reverse: bool, needs_x: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Differentiate `gru_layer`.

    Args:
        grad: Of the states (T, B, H).
        saved: `x`, `w_ih` and `w_hh` as given to the forward pass, and all that it returned.
        reverse: Whether time ran backwards.
        needs_x: Whether the inputs' gradient is asked for; it is empty otherwise.

    Returns:
        Gradients of `x`, `w_ih`, `w_hh`, `b_ih` and `b_hh`, in their types.
    """
    x, w_ih, w_hh, states, gates, hidden = saved
    T, B, H = states.shape
    d_gates, d_new = torch.empty_like(gates), torch.empty_like(states)
    d_h = torch.zeros_like(states[0])
    order = _order(T, not reverse)
    for t, previous in zip(order, [*order[1:], None], strict=True):
        d_h.add_(grad[t])
        came_from = None if previous is None else states[previous]
        _gate_gradients((d_h, came_from, gates[t], hidden[t]), d_gates[t], d_new[t])
        if previous is not None:
            d_h.mul_(gates[t, :, H : 2 * H])
            _add_product(d_h, d_gates[t].to(w_hh.dtype), w_hh)

    dtype = x.dtype
    before, after = (slice(1, None), slice(-1)) if reverse else (slice(-1), slice(1, None))
    d_state = d_gates.to(dtype)
    d_w_hh = d_state[after].flatten(0, 1).T @ states[before].flatten(0, 1).to(dtype)
    d_b_hh = d_gates.sum(dim=(0, 1))
    d_gates[..., 2 * H :] = d_new  # the inputs' part of the new gate is not reset
    d_inputs = d_gates.to(dtype).view(T * B, 3 * H)
    d_w_ih = d_inputs.T @ x.view(T * B, -1)
    d_x = (d_inputs @ w_ih).view_as(x) if needs_x else x.new_empty(0)
    return d_x, d_w_ih, d_w_hh, d_gates.sum(dim=(0, 1)), d_b_hh


def _gate_gradients(
    given: tuple[Tensor, Tensor | None, Tensor, Tensor], d_gates: Tensor, d_new: Tensor
) -> None:
    """Differentiate one frame's gates, in small pieces that stay in the processor's cache.

    Args:
        given: The gradient of the frame's state (B, H), the state that it came from if any, the
            gates (B, 3H) and the new gate's hidden part (B, H).
        d_gates: Written: gradients of the gates as the state feeds them (B, 3H).
        d_new: Written: gradient of the new gate as the inputs feed it (B, H).
    """
    d_h, came_from, gates, hidden = given
    r, z, n = gates.chunk(3, dim=1)
    d_r, d_z, d_n = d_gates.chunk(3, dim=1)
    through_new = d_h * (1 - z)
    torch.addcmul(through_new, through_new, n * n, value=-1, out=d_new)  # d_h (1 - z) (1 - n^2)
    torch.mul(d_new, r, out=d_n)
    torch.mul(d_n, 1 - r, out=d_r).mul_(hidden)
    if came_from is None:
        torch.neg(n, out=d_z)
    else:
        torch.sub(came_from, n, out=d_z)
    d_z.mul_(z).mul_(through_new)


def _order(num_frames: int, reverse: bool) -> list[int]:
    return list(range(num_frames))[:: -1 if reverse else 1]


def _add_product(total: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Add x @ weight, taken in their type, to `total` in place."""
    if total.dtype == weight.dtype:
        return total.addmm_(x, weight)
    return total.add_(x @ weight)


@gru_layer.register_fake
def _(
    x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    states = b_hh.new_empty(*x.shape[:2], w_hh.shape[1])
    return states, b_hh.new_empty(*x.shape[:2], len(w_hh)), torch.empty_like(states)


@gru_layer_backward.register_fake
def _(
    grad: Tensor, saved: Sequence[Tensor], reverse: bool, needs_x: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    x, w_ih, w_hh, _, gates, _ = saved
    d_x = torch.empty_like(x) if needs_x else x.new_empty(0)
    bias = gates.new_empty(len(w_hh))
    return d_x, torch.empty_like(w_ih), torch.empty_like(w_hh), bias, torch.empty_like(bias)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, w_ih, w_hh, _, _, ctx.reverse, last = inputs
    if last is not None:
        raise NotImplementedError("a GRU that goes on from a state has no gradients")
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, w_ih, w_hh, *output)


def _differentiate(ctx: Any, grad: Tensor | None, *_: Tensor) -> tuple[Tensor | None, ...]:
    if grad is None:  # the states were not used
        return (None,) * 7
    needs_x = ctx.needs_input_grad[0]
    gradients = gru_layer_backward(grad, ctx.saved_tensors, ctx.reverse, needs_x)
    return gradients[0] if needs_x else None, *gradients[1:], None, None


gru_layer.register_autograd(_differentiate, setup_context=_save)


@register_flop_formula(torch.ops.vibe_ray.gru_layer)
def _flops(x: Sequence[int], w_ih: Sequence[int], w_hh: Sequence[int], *_: Any, **__: Any) -> int:
    T, B, _inputs = x
    return 2 * B * (T * math.prod(w_ih) + (T - 1) * math.prod(w_hh))


@register_flop_formula(torch.ops.vibe_ray.gru_layer_backward)
def _flops_backward(
    grad: Sequence[int],
    saved: Sequence[Sequence[int]],
    reverse: bool,
    needs_x: bool,
    **_: Any,
) -> int:
    (T, B, _inputs), w_ih, w_hh = saved[:3]
    return 2 * B * ((1 + needs_x) * T * math.prod(w_ih) + 2 * (T - 1) * math.prod(w_hh))
