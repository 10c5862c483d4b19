"""array-api-strict: the strictest namespace of the Array API standard, through the reference."""

from conv1d_cts.adapters.array_api import ArrayApi

adapter = ArrayApi("array_api_strict")
