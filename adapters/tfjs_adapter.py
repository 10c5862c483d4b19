"""TensorFlow.js on the CPU, in a process of Node.js that speaks the protocol: tfjs_backend.js, beside this file."""

from pathlib import Path

from conv1d_cts.adapters.remote import Remote

adapter = Remote(["node", str(Path(__file__).with_name("tfjs_backend.js"))])
