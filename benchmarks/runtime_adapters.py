"""One function for each runtime: load a model and return the function that predicts one input.

benchmarks/runtimes.py runs this file in a process for each runtime, which may belong to another virtual environment:

    python benchmarks/runtime_adapters.py NAME MODEL INPUTS OUTPUTS

It imports NumPy and the runtime only. INPUTS has the inputs by number; OUTPUTS gets probabilities, labels (if the
runtime computes them), milliseconds and the version. The files of converters are written to the current directory.
"""

import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
OUTPUTS = ["probabilities", "label"]
WARM_UP = 3  # predictions before time is measured


def onnxruntime(model: Path, example: np.ndarray) -> Predict:
    """ONNX Runtime on one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(OUTPUTS, {name: image})


def openvino(model: Path, example: np.ndarray) -> Predict:
    """OpenVINO on its CPU device."""
    import openvino as ov

    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        results = compiled(image)
        return results["probabilities"], results["label"]

    return predict


def opencv(model: Path, example: np.ndarray) -> Predict:
    """OpenCV's dnn module."""
    import cv2

    cv2.setNumThreads(1)
    net = cv2.dnn.readNetFromONNX(str(model))
    names = net.getUnconnectedOutLayersNames()  # OpenCV 5 computes all outputs or one

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        net.setInput(image)
        outputs = dict(zip(names, net.forward(names), strict=True))
        return outputs["probabilities"], outputs["label"]

    return predict


def tract(model: Path, example: np.ndarray) -> Predict:
    """Tract, an engine in Rust."""
    import tract

    runnable = tract.onnx().load(str(model)).into_model().into_runnable()

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probabilities, label, *_ = runnable.run([image])
        return probabilities.to_numpy(), label.to_numpy()

    return predict


def mnn(model: Path, example: np.ndarray) -> Predict:
    """MNN, after its converter."""
    import MNN

    arguments = ["-f", "ONNX", "--modelFile", str(model), "--MNNModel", "model.mnn", "--bizCode", "digitnet"]
    _convert("mnnconvert", *arguments)
    name = "ink" if example.dtype == np.float32 else "image"
    module = MNN.nn.load_module_from_file("model.mnn", [name], OUTPUTS)
    expr = MNN.expr
    layout, data_type = (expr.NCHW, expr.float) if name == "ink" else (expr.NHWC, expr.uint8)

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probabilities, label = module.forward([expr.const(image, list(image.shape), layout, data_type)])
        return np.array(probabilities.read()), np.array(label.read())

    return predict


def ncnn(model: Path, example: np.ndarray) -> Predict:
    """Ncnn, after pnnx.

    It has no batches, which the views of test-time augmentation are for the network, and no layers for the label. The
    graph is therefore cut after the views and at the logits.
    """
    import ncnn
    import onnx

    graph = onnx.load(model).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    views = [onnx.numpy_helper.to_array(constants[name]) for name in ("views.rows", "views.columns")]
    name = graph.input[0].name  # framing has no such cut
    if name == "ink":
        name = next(node.input[0] for node in graph.node if node.op_type == "Conv")
    logits = [node.output[0] for node in graph.node if node.op_type == "Gemm"][-1]
    onnx.utils.extract_model(model, "logits.onnx", [name], [logits])
    _convert("pnnx", "logits.onnx", f"inputshape=[{','.join(map(str, example.shape))}]", "fp16=0")
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    if net.load_param("logits.ncnn.param") or net.load_model("logits.ncnn.bin"):
        raise RuntimeError("ncnn cannot load the converted model")

    def compute_logits(view: np.ndarray) -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(view[None]))
        return np.array(extractor.extract("out0")[1])

    def predict(ink: np.ndarray) -> tuple[np.ndarray, None]:
        scores = np.mean([compute_logits(view) for view in views[0] @ ink[0] @ views[1]], 0)
        scores *= ink.any()  # 0.1 each if blank
        exponentials = np.exp(scores - scores.max())
        return exponentials / exponentials.sum(), None

    return predict


def litert(model: Path, example: np.ndarray) -> Predict:
    """LiteRT, formerly TensorFlow Lite, after onnx2tf.

    The converter has to be told that the input keeps its layout, and that the views of test-time augmentation, which
    are batches of the network, have their channel in front.
    """
    import onnx
    from ai_edge_litert.interpreter import Interpreter

    graph = onnx.load(model).graph
    name = graph.input[0].name
    views = next(node.input[0] for node in graph.node if node.op_type == "Conv")
    (reshape,) = [node.name for node in graph.node if views in node.output]
    layout = {"op_name": reshape, "param_target": "outputs", "param_name": views}
    layout["post_process_transpose_perm"] = [0, 2, 3, 1]
    Path("layout.json").write_text(json.dumps({"format_version": 1, "operations": [layout]}))
    _convert("onnx2tf", "-i", str(model), "-o", "litert", "-b", "1", "-osd", "-kat", name, "-prf", "layout.json")
    interpreter = Interpreter(str(next(Path("litert").glob("*_float32.tflite"))), num_threads=1)
    run = interpreter.get_signature_runner()

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        results = run(**{name: image})
        return results["probabilities"], results["label"]

    return predict


def tinygrad(model: Path, example: np.ndarray) -> Predict:
    """Tinygrad on its CPU device, which needs clang."""
    from tinygrad import Tensor
    from tinygrad.nn.onnx import OnnxRunner

    runner = OnnxRunner(model)
    name = "ink" if example.dtype == np.float32 else "image"

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        results = runner({name: Tensor(image)})
        return results["probabilities"].numpy(), results["label"].numpy()

    return predict


def iree(model: Path, example: np.ndarray) -> Predict:
    """IREE, after its compiler."""
    import iree.runtime

    _convert("iree-import-onnx", str(model), "-o", "model.mlir")
    target = ["--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu"]
    _convert("iree-compile", "model.mlir", *target, "--iree-llvmcpu-target-cpu=host", "-o", "model.vmfb")
    module = iree.runtime.load_vm_flatbuffer_file("model.vmfb", driver="local-sync")
    run = getattr(module, "digitnet", None) or module.main_graph

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probabilities, label, *_ = run(image)
        return np.asarray(probabilities), np.asarray(label)

    return predict


def tvm(model: Path, example: np.ndarray) -> Predict:
    """Apache TVM with its LLVM backend."""
    import onnx
    import tvm
    from tvm.relax.frontend.onnx import from_onnx

    proto = onnx.load(model)
    module = from_onnx(proto, shape_dict={proto.graph.input[0].name: list(example.shape)})
    machine = tvm.relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probabilities, label, *_ = machine["main"](tvm.runtime.tensor(image))
        return probabilities.numpy(), label.numpy()

    return predict


def reference(model: Path, example: np.ndarray) -> Predict:
    """The reference implementation of ONNX in NumPy."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(model))
    return lambda image: evaluator.run(OUTPUTS, {evaluator.input_names[0]: image})


ADAPTERS: dict[str, tuple[str, Callable[[Path, np.ndarray], Predict]]] = {  # the distribution, and the function
    "onnxruntime": ("onnxruntime", onnxruntime),
    "openvino": ("openvino", openvino),
    "opencv": ("opencv-python-headless", opencv),
    "tract": ("tract", tract),
    "mnn": ("mnn", mnn),
    "ncnn": ("ncnn", ncnn),
    "litert": ("ai-edge-litert", litert),
    "tinygrad": ("tinygrad", tinygrad),
    "iree": ("iree-base-runtime", iree),
    "tvm": ("apache-tvm", tvm),
    "reference": ("onnx", reference),
}


def _convert(command: str, *arguments: str) -> None:
    """Run a converter of this environment."""
    path = Path(sys.executable).parent / command
    result = subprocess.run([path, *arguments], capture_output=True, text=True)
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no message"]
        errors = [line for line in lines if "error:" in line.lower()]  # a compiler shows the place after it
        raise RuntimeError(f"{command}: {(errors or lines)[-1].strip()}")


def main(name: str, model: str, inputs: str, outputs: str) -> None:
    """Predict each input and write the results.

    Args:
        name: A key of ADAPTERS.
        model: The ONNX file.
        inputs: An NPZ file with an array for each input.
        outputs: The NPZ file to write.
    """
    distribution, adapter = ADAPTERS[name]
    version = importlib.metadata.version(distribution)
    with np.load(inputs) as file:
        images = [file[str(index)] for index in range(len(file.files))]
    predict = adapter(Path(model), images[0])
    for image in images[:WARM_UP]:
        predict(image)
    probabilities, labels, times = [], [], []
    for image in images:
        start = time.perf_counter()
        probability, label = predict(image)
        times.append(1000 * (time.perf_counter() - start))
        probabilities.append(np.array(probability, np.float32).reshape(10))
        if label is not None:
            labels.append(int(np.asarray(label).reshape(-1)[0]))
    np.savez(outputs, probabilities=probabilities, labels=labels, times=times, version=version)


if __name__ == "__main__":
    main(*sys.argv[1:])
