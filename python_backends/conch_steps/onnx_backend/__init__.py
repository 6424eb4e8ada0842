"""The `onnxruntime` stand-in: what NVIDIA's C++ backend of that name does on a CPU, on the onnxruntime wheel.

One config.pbtxt serves both, so everything here follows the C++ backend (release 24.10): which file is the
model, how a short configuration is completed, which configurations are refused at load, how a batch is joined
and split. Where the two differ on purpose, the module that differs says so and why.

    config      the parts of config.pbtxt that matter here
    model_file  which file is the model
    settings    how the session is to run
    session     onnxruntime itself: options and errors
    signature   what a graph takes and gives
    complete    fills in what config.pbtxt leaves out
    validate    refuses what the graph cannot keep
    batch       from requests to one batch, from its outputs back to requests
    rows        takes requests of several rows apart
    runs        which pieces of a batch share a call
    served      a loaded model: all of the above in order

`served.OnnxModel.load` is the whole verdict on a configuration and its model, with a server around it or not.
"""
