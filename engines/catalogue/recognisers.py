"""Lists the models that recognise the person in pictures and find faces, as rows of the registry."""

from __future__ import annotations

from engines.api.protocols import ModelSpec

_APACHE = "Apache-2.0"
RECOGNISERS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="mini-identity",
        label="mini-identity (embedded toy world)",
        role="scorer",
        family="image-encoder",
        engine="engines.identity:ImageScorer",
        source="assets:mini/identity",
        licence=_APACHE,
        toy=True,
        size=(64, 64),
    ),
    ModelSpec(
        name="dinov2-small",
        label="DINOv2 small (drawn characters, profiles, bodies)",
        role="scorer",
        family="image-encoder",
        engine="engines.identity:ImageScorer",
        source="facebook/dinov2-small",
        licence=_APACHE,
        size=(224, 224),
    ),
    ModelSpec(
        name="facenet512",
        label="Facenet512 through deepface (photo faces)",
        role="scorer",
        family="deepface",
        engine="engines.identity:DeepFaceScorer",
        source="deepface:Facenet512",
        licence="MIT (deepface); weights under their own licence",
        options={
            "verification_threshold": 0.70,
            "detector": "yunet",
            "faceless": "dinov2-small",
        },  # 1 − cosine distance in deepface/config/threshold.py
    ),
    ModelSpec(
        name="arcface",
        label="ArcFace through deepface (photo faces)",
        role="scorer",
        family="deepface",
        engine="engines.identity:DeepFaceScorer",
        source="deepface:ArcFace",
        licence="MIT (deepface); weights under their own licence",
        options={
            "verification_threshold": 0.32,
            "detector": "yunet",
            "faceless": "dinov2-small",
        },  # from the same table
    ),
    ModelSpec(
        name="dlib-faces",
        label="dlib's recogniser (photo faces; two packages, no other download)",
        role="scorer",
        family="dlib",
        engine="engines.identity:DlibScorer",
        source="package:face_recognition_models",
        licence="CC0 (models), Boost (dlib), BSD (yuface)",
        options={
            "verification_threshold": 0.93,  # cosine: on ORL's 40 people (docs/measured.md)
            "detector": "yuface",
            "faceless": "dinov2-small",
            "file": "dlib_face_recognition_resnet_model_v1.dat",
            "landmarks": "shape_predictor_5_face_landmarks.dat",  # dlib's own; the 68 points are not for commerce
            "packages": "face-recognition-models==0.3.0 dlib-bin yuface",
        },
    ),
    ModelSpec(
        name="yunet",
        label="YuNet (faces, their landmarks)",
        role="detector",
        family="yunet",
        engine="engines.faces.detectors:YuNet",
        source="opencv/face_detection_yunet",
        licence="MIT",
        component_bytes={"face_detection_yunet_2023mar.onnx": 232_589},
        options={  # its pointer in github.com/opencv/opencv_zoo names size and hash
            "file": "face_detection_yunet_2023mar.onnx",
            "bytes": 232_589,
            "sha256": "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
            "page": "huggingface.co/opencv/face_detection_yunet",
            "former": "deepface/.deepface/weights",  # below the folder of models: where deepface looked for it
        },
    ),
    ModelSpec(
        name="yuface",
        label="libfacedetection (YuNet's network in a package; Python 3.11)",
        role="detector",
        family="yunet",
        engine="engines.faces.detectors:CompiledYuNet",
        source="package:yuface",
        licence="BSD-3-Clause",
        options={"packages": "yuface"},
    ),
    ModelSpec(
        name="opencv",
        label="OpenCV's cascade (frontal faces, built in)",
        role="detector",
        family="cascade",
        engine="engines.faces.detectors:Cascade",
        source="package:cv2",
        licence=_APACHE,
        options={"packages": "opencv-contrib-python-headless"},
    ),
)
