"""What `python generated_module.py` does on a GPU: gradients against differences in float32, as a table."""

CHECK = '''def check(batch=5{lengths}, seed=0):
    """{what} against central differences along one direction for every parameter, on the device.

    Numbers are float32, so some three digits agree: a wrong equation or a wrong kernel shows, a small error does not. The
    module for NumPy checks the equations in float64.
    """
    rng = np.random.default_rng(seed)
    params = {{k: rng.normal(0.0, 0.3, v.shape).astype(np.float32) for k, v in init(seed).items()}}
{positive}    params = to_device(params)
    inputs = dict(
{inputs}
    )
    {derive}
    print(f"{{'parameter':<16}}{{'shape':<16}}{{'derived':>16}}{{'differences':>16}}{{'error':>10}}")
    worst = 0.0
    for name, grad in to_host(grads).items():
        kept, direction = to_host(params[name]), np.abs(rng.standard_normal(grad.shape))
        direction *= np.where(grad < 0, -1, 1)                   # upwards for every element: steep beside rounding
        direction /= np.sqrt((direction**2).sum()) or 1.0
        derived, tried = float((grad * direction).sum()), []
        for h in 1e-1, 3e-2, 1e-2, 3e-3:                         # smaller where the slope changes, larger where rounding shows
            sides = []
            for sign in (1, -1):
                params[name] = to_device(np.float32(kept + sign * h * direction))
                sides.append({value})
            differences, rounding = (sides[0] - sides[1]) / (2 * h), 1e-6 * max(map(abs, sides)) / h
            error = abs(derived - differences) / max(abs(derived), abs(differences), 100 * rounding, 1e-6)
            tried.append((float(np.nan_to_num(error, nan=np.inf)), differences))
        params[name] = to_device(kept)
        error, differences = min(tried)
        worst = max(worst, error)
        print(f"{{name:<16}}{{str(grad.shape):<16}}{{derived:>16.6f}}{{differences:>16.6f}}{{error:>10.1e}}")
    print("gradients agree" if worst < 2e-2 else "GRADIENTS DIFFER")
    return worst


if __name__ == "__main__":
    raise SystemExit(check() >= 2e-2)
'''

__all__ = ["CHECK"]
