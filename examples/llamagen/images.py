"""What turns images into tokens and judges images: a vector-quantised autoencoder, a classifier, the Frechet distance.

The autoencoder (van den Oord et al. 2017, arXiv 1711.00937) halves 28 x 28 pixels twice (7 x 7 tokens) or once
(14 x 14); its codebook follows the codes by moving averages, and codes that nothing uses start again at a code of the
batch. All weights are kept in float16 files and used as they were rounded.
"""
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

SIDE = 28
FEATURES = 128


class Classifier(nn.Module):
    """Images (N, 1, 28, 28) in [0, 1] -> logits (N, 10); `features` gives all stages, the last (N, FEATURES)."""

    def __init__(self, width=32):
        super().__init__()
        self.stage1 = stage(1, width)
        self.stage2 = stage(width, 2 * width)
        self.hidden = nn.Linear(2 * width * 49, FEATURES)
        self.output = nn.Linear(FEATURES, 10)

    def features(self, images):
        first = self.stage1(images)
        second = self.stage2(first)
        return first, second, F.relu(self.hidden(second.flatten(1)))

    def forward(self, images):
        return self.output(F.dropout(self.features(images)[-1], 0.4, self.training))


def stage(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.GroupNorm(8, outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.GroupNorm(8, outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x):
        y = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(y)))


class Tokenizer(nn.Module):
    """Images (N, 1, 28, 28) <-> tokens (N, grid * grid) of a codebook (codes, depth)."""

    def __init__(self, grid=7, codes=256, depth=16, width=64):
        super().__init__()
        if grid not in (7, 14):
            raise ValueError("grid must be 7 or 14")
        self.grid = grid
        halvings = 2 if grid == 7 else 1
        widths = [width * (i + 2) // 2 for i in range(halvings + 1)]
        encoder = [nn.Conv2d(1, width, 3, padding=1)]
        decoder = [nn.Conv2d(depth, widths[-1], 3, padding=1), Residual(widths[-1]), Residual(widths[-1])]
        for small, large in zip(widths, widths[1:]):
            encoder += [Residual(small), nn.Conv2d(small, large, 4, stride=2, padding=1)]
        for small, large in reversed(list(zip(widths, widths[1:]))):
            decoder += [nn.Upsample(scale_factor=2), nn.Conv2d(large, small, 3, padding=1), Residual(small)]
        encoder += [Residual(widths[-1]), Residual(widths[-1]), normed(widths[-1], depth)]
        decoder += [Residual(width), normed(width, 1)]
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)
        self.register_buffer("codebook", torch.randn(codes, depth))
        self.register_buffer("uses", torch.ones(codes), persistent=False)
        self.register_buffer("sums", torch.zeros(codes, depth), persistent=False)

    def nearest(self, codes):
        """(M, depth) -> (M,)"""
        distance = self.codebook.square().sum(1) - 2 * codes.float() @ self.codebook.T
        return distance.argmin(1)

    def codes(self, images):
        """(N, grid * grid, depth)"""
        return self.encoder(images).flatten(2).transpose(1, 2)

    @torch.no_grad()
    def encode(self, images):
        codes = self.codes(images)
        return self.nearest(codes.flatten(0, 1)).view(codes.shape[:2])

    def draw(self, codes):
        """(N, grid * grid, depth) -> logits of pixels (N, 1, 28, 28)"""
        return self.decoder(codes.transpose(1, 2).unflatten(2, (self.grid, self.grid)))

    @torch.no_grad()
    def decode(self, tokens):
        return self.draw(self.codebook[tokens]).float().sigmoid()

    @torch.no_grad()
    def start(self, codes):
        """Twenty rounds of k-means from codes (M, depth) of the first images."""
        self.codebook.copy_(codes[torch.randperm(len(codes), device=codes.device)[: len(self.codebook)]])
        for _ in range(20):
            self.follow(codes, self.nearest(codes), decay=0.0)

    @torch.no_grad()
    def follow(self, codes, tokens, decay=0.99):
        """Moves the codebook toward the means of what it stands for."""
        # one-hot products give the same bits on every run, unlike scattered sums on a GPU
        hot = F.one_hot(tokens, len(self.codebook)).float()
        self.uses.mul_(decay).add_(hot.sum(0), alpha=1 - decay)
        self.sums.mul_(decay).add_(hot.T @ codes, alpha=1 - decay)
        self.codebook.copy_(self.sums / self.uses.clamp(min=1e-6)[:, None])
        dead = self.uses < 0.02 * self.uses.mean()
        fresh = codes[torch.randint(len(codes), (len(self.codebook),), device=codes.device)]
        self.codebook.copy_(torch.where(dead[:, None], fresh, self.codebook))
        self.uses.copy_(torch.where(dead, self.uses.mean(), self.uses))
        self.sums.copy_(torch.where(dead[:, None], self.codebook * self.uses[:, None], self.sums))


def normed(inputs, outputs):
    return nn.Sequential(nn.GroupNorm(8, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))


def round_to_half(module):
    """Rounds all numbers to float16, in place, so that what is used is what is written."""
    for tensor in module.state_dict().values():
        tensor.copy_(tensor.half().to(tensor.dtype))
    return module.eval()


def save_half(module, file, metadata=None):
    tensors = {name: tensor.half().contiguous().cpu() for name, tensor in module.state_dict().items()}
    save_file(tensors, file, metadata=metadata)


def load_half(module, file, device="cpu"):
    module.load_state_dict({name: tensor.float() for name, tensor in load_file(file).items()})
    return module.to(device).eval()


def load_tokenizer(file, device="cpu"):
    tensors = load_file(file)
    halvings = sum(name.startswith("encoder") and tensor.shape[2:] == (4, 4) for name, tensor in tensors.items())
    codes, depth = tensors["codebook"].shape
    tokenizer = Tokenizer(SIDE >> halvings, codes, depth, tensors["encoder.0.weight"].shape[0])
    return load_half(tokenizer, file, device)


@torch.no_grad()
def in_batches(function, inputs, size=2000):
    return torch.cat([function(inputs[i : i + size]) for i in range(0, len(inputs), size)])


def judge(classifier, images):
    """Features (N, FEATURES) and classes read (N,) of images (N, 1, 28, 28) in [0, 1]."""
    features = in_batches(lambda part: classifier.features(part)[-1].float(), images)
    return features, in_batches(lambda part: classifier.output(part).argmax(1), features)


def frechet(a, b):
    """Distance of two sets of features (N, F) taken as normal distributions, as in Heusel et al. 2017 (1706.08500)."""
    a, b = a.double().cpu(), b.double().cpu()
    between = (a.mean(0) - b.mean(0)).square().sum()
    a, b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    return (between + a.trace() + b.trace() - 2 * shared).item()
