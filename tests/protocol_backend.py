"""A backend that speaks the protocol with nothing but the standard library, and misbehaves as its argument says.

It convolves by plain loops; written from annex Protocol alone, it imports nothing of conv1d-cts.
"""

import json
import math
import os
import signal
import struct
import sys

HELLO = {
    "type": "hello", "protocol": 1, "name": "loops", "versions": {"loops": "1"}, "native": "loops", "devices": ["cpu"],
    "surfaces": ["functional"], "transforms": ["vjp", "vmap"], "dtypes": ["float64"],
}  # fmt: skip
_ON_GPU = {"devices": ["cpu", "gpu"], "device_facts": {"gpu": {"GPU": "of paper"}}}
PLACES = {"on gpu": _ON_GPU, "strays": _ON_GPU, "says nothing": _ON_GPU}


def read(count):
    data = sys.stdin.buffer.read(count)
    if len(data) < count:
        sys.exit(0)
    return data


def frame():
    header = json.loads(read(int.from_bytes(read(4), "little")))
    return header, {entry["name"]: (entry, read(entry["bytes"])) for entry in header["arrays"]}


def send(header, arrays):
    entries = [{**entry, "bytes": len(data)} for entry, data in arrays.values()]
    encoded = json.dumps({**header, "arrays": entries}).encode()
    sys.stdout.buffer.write(len(encoded).to_bytes(4, "little") + encoded + b"".join(d for _, d in arrays.values()))
    sys.stdout.buffer.flush()


def numbers(array):
    entry, data = array
    if entry["dtype"] != "float64":
        raise TypeError("float64 only")
    return entry["shape"], list(struct.unpack(f"<{math.prod(entry['shape'])}d", data))


def packed(name, shape, values):
    return {"name": name, "dtype": "float64", "shape": shape}, struct.pack(f"<{len(values)}d", *values)


def taps(x_shape, w_shape, arguments):
    """(index in y, in w, in x) of every product."""
    (n, c_in, length), (c_out, per_group, kernel) = x_shape, w_shape
    (lo, hi), s, d, g = (arguments[name] for name in ("padding", "stride", "dilation", "groups"))
    l_out = (length + lo + hi - d * (kernel - 1) - 1) // s + 1
    if l_out < 1 or c_in != g * per_group or c_out % g:
        raise ValueError("these do not fit")
    found = []
    for i in range(n * c_out * l_out):
        item, o, at = i // (c_out * l_out), i // l_out % c_out, i % l_out
        for c in range(per_group):
            for k in range(kernel):
                position = at * s + k * d - lo
                if 0 <= position < length:
                    channel = o // (c_out // g) * per_group + c
                    found.append((i, (o * per_group + c) * kernel + k, (item * c_in + channel) * length + position))
    return [n, c_out, l_out], found


def rows(array, axis):
    """The arrays along an axis."""
    shape, values = numbers(array)
    axis %= len(shape)
    inner = math.prod(shape[axis + 1 :])
    taken = [[v for i, v in enumerate(values) if i // inner % shape[axis] == row] for row in range(shape[axis])]
    return [packed(array[0]["name"], shape[:axis] + shape[axis + 1 :], row) for row in taken]


def mapped(header, arrays):
    if any(0 in entry["shape"] for entry, _ in arrays.values()):
        raise ValueError("nothing to map over")
    over = [(name, rows(arrays[name], axis)) for name, axis in zip(header["wrt"], header["axes"], strict=True)]
    singles = [dict(zip(header["wrt"], row, strict=True)) for row in zip(*(row for _, row in over), strict=True)]
    answers = [compute({**header, "program": "conv1d"}, {**arrays, **single})["y"] for single in singles]
    shape = [len(answers), *answers[0][0]["shape"]]
    return {"y": packed("y", shape, [value for answer in answers for value in numbers(answer)[1]])}


def compute(header, arrays):
    if header["program"] == "vmap":
        return mapped(header, arrays)
    (x_shape, x), (w_shape, w) = numbers(arrays["x"]), numbers(arrays["w"])
    y_shape, products = taps(x_shape, w_shape, header["arguments"])
    out = {"x": [0.0] * len(x), "w": [0.0] * len(w)}
    if header["program"] == "conv1d":
        _, b = numbers(arrays["b"]) if "b" in arrays else (None, [0.0] * y_shape[1])
        y = [b[i // y_shape[2] % y_shape[1]] for i in range(math.prod(y_shape))]
        for i, j, at in products:
            y[i] += w[j] * x[at]
        return {"y": packed("y", y_shape, y)}
    _, gy = numbers(arrays["cotangent"])
    for i, j, at in products:
        out["x"][at] += gy[i] * w[j]
        out["w"][j] += gy[i] * x[at]
    out["b"] = [sum(g for i, g in enumerate(gy) if i // y_shape[2] % y_shape[1] == o) for o in range(y_shape[1])]
    shapes = {"x": x_shape, "w": w_shape, "b": [y_shape[1]]}
    return {f"g{name}": packed(f"g{name}", shapes[name], out[name]) for name in header["wrt"]}


def misbehave(how, arrays):
    if how == "signal":
        os.kill(os.getpid(), signal.SIGABRT)
    if how == "exit":
        sys.exit(5)
    if how == "noise":
        print("loading, please wait", flush=True)
    if how == "modify":
        entry, data = arrays["x"]
        arrays["x"] = entry, struct.pack("<d", 7.0) + data[8:]


def main():
    how = sys.argv[1]
    while True:
        header, arrays = frame()
        if how == "missing":
            send({"type": "refused", "error": "ImportError", "message": "install the loops"}, {})
            continue
        if header["type"] == "hello":
            send({**HELLO, **PLACES.get(how, {}), "protocol": 2 if how == "version" else 1}, {})
            continue
        try:
            misbehave(how, arrays)
            results = compute(header, arrays)
            place = {"on gpu": header["device"], "strays": "cpu"}.get(how)
            send({"type": "result", "results": list(results), **({"device": place} if place else {})}, arrays | results)
        except (ValueError, TypeError) as error:
            send({"type": "refused", "error": type(error).__name__, "message": str(error)}, {})


main()
