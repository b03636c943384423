"""Which training steps and inferences are timed; read by our side and by PyTorch's."""

from typing import Any, NamedTuple

CLASSES = 10


class Workload(NamedTuple):
    """A network at work on images of noise."""

    network: str  # our name of it
    options: dict[str, Any]  # ours, of the network
    side: int  # of the images, in pixels
    labelled: int  # images
    mu: int = 0  # FixMatch with so many times as many unlabelled images; 0: supervised
    split: bool = False  # the weak views forward only, in a batch of their own
    train: bool = True  # a training step; False: inference

    @property
    def images(self) -> int:
        """Images that the network is shown in a call; FixMatch's unlabelled ones twice."""
        return self.labelled * (1 + 2 * self.mu)


WRN = ("wide_resnet", {"depth": 28, "width": 2}, 32)
SMALL = ("small_cnn", {}, 32)
RESNET = ("resnet", {"depth": 18}, 128)
MOBILE = "mobilenet_v1"
NEAR, FAR = {"stem_stride": 1}, {"stem_stride": 2}

TRAINING = {
    "small CNN, 32 px, B 64": Workload(*SMALL, 64),
    "WRN-28-2 FixMatch, B 4 mu 3, joint": Workload(*WRN, 4, 3),
    "WRN-28-2 FixMatch, B 4 mu 3, split": Workload(*WRN, 4, 3, True),
    "MobileNet v1, 32 px, stem stride 1, B 8": Workload(MOBILE, NEAR, 32, 8),
    "MobileNet v1, 128 px, B 8": Workload(MOBILE, FAR, 128, 8),
    "ResNet-18, 128 px, B 8": Workload(*RESNET, 8),
}
INFERENCE = {
    "small CNN, 32 px, B 64": Workload(*SMALL, 64, train=False),
    "ResNet-18, 128 px, B 8": Workload(*RESNET, 8, train=False),
    "MobileNet v1, 128 px, B 32": Workload(MOBILE, FAR, 128, 32, train=False),
    "MobileNet v1, 224 px, B 8": Workload(MOBILE, FAR, 224, 8, train=False),
}
TOYS = {  # options of networks that are known to run, not to be timed
    "small_cnn": {"channels": [4, 8]},
    "wide_resnet": {"depth": 10, "width": 1},
    "resnet": {"depth": 18, "width": 16},
    "mobilenet_v1": {"stem_stride": 2, "width": 0.125},
}


def toy(work: Workload) -> Workload:
    """The same at a size of milliseconds."""
    return work._replace(options=TOYS[work.network], side=32, labelled=2, mu=min(work.mu, 1))
