"""Train a small convolutional network on handwritten digits, on any number of ranks.

    python examples/digits.py                     # one process
    dtrain run -np 2 examples/digits.py           # two ranks: sync-BN, gradients packed into buckets
    dtrain run -np 2 --events digits.jsonl examples/digits.py    # and every step and epoch of both in a file

Forward, backward, all-reduce and update are one optimized graph. The global batch is split over the ranks, so the
numbers do not depend on how many there are.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import data, events, models, optim
from dtrain.collectives import exposed_time


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=64, help="samples of one step over all ranks (64)")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate at the start; falls to 0 by a cosine")
    parser.add_argument("--bucket-mb", type=float, default=None, help="largest gradient bucket in MiB (25)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--losses", metavar="FILE", help="write the loss of every step as JSON")
    return parser.parse_args()


class ProgressLine:
    """One line on rank 0 that is written over and over; a few times a second at most."""

    def __init__(self, enabled: bool, width: int = 30) -> None:
        self.enabled, self.width, self.shown = enabled, width, 0.0

    def show(self, epoch: int, done: int, total: int, loss: float) -> None:
        now = time.monotonic()
        if self.enabled and (now - self.shown > 0.2 or done == total):
            self.shown = now
            filled = self.width * done // total
            bar = "█" * filled + "·" * (self.width - filled)
            sys.stdout.write(f"\repoch {epoch:2} {bar} {done}/{total} loss {loss:.4f}")
            sys.stdout.flush()

    def clear(self) -> None:
        if self.enabled:
            sys.stdout.write("\r")


def print_bucket_plan(step: dt.TracedFunction, world: dist.Communicator) -> None:
    """The messages that carry gradients, before and after packing, as the graph executes them."""
    buckets = dist.bucket_plan(step.graphs[0])
    gradients = sum(label != "samples" for bucket in buckets for label in bucket.labels)  # the count rides along
    print(f"bucket plan: {gradients} gradient all-reduces before packing, {len(buckets)} after")
    for number, bucket in enumerate(buckets):
        shown = ", ".join(bucket.labels[:3]) + (", …" if len(bucket.labels) > 3 else "")
        algorithm = world.algorithm("all_reduce_many", bucket.nbytes)
        print(f"  bucket {number}: {len(bucket.labels):3} tensors {bucket.nbytes / 1024:9.1f} KiB {algorithm}: {shown}")


def accuracy(model: dt.nn.Module, test_set: data.Dataset, batch_size: int) -> float:
    """Share of right answers over all ranks' parts of the test set."""

    @dt.trace
    def count_right(images: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
        with dt.no_grad():
            return F.equal(model(images).argmax(1), labels).to("f64").sum()

    model.eval()
    right = sum(count_right(*batch).item() for batch in data.DataLoader(test_set, batch_size=batch_size, shard=True))
    model.train()
    return dist.all_reduce(dt.tensor(right, dtype="f64")).item() / len(test_set)


def main() -> None:
    options = parse_arguments()
    world = dist.init()
    dt.seed(options.seed)
    is_first = world.rank == 0

    train_set, test_set = data.Digits(train=True), data.Digits(train=False)
    loader = data.DataLoader(
        train_set, batch_size=-(-options.batch_size // world.size), shuffle=True, shard=True, seed=options.seed
    )
    model = dist.convert_sync_batch_norm(models.digits_cnn())
    model = dist.data_parallel(model, bucket_mb=options.bucket_mb)
    optimizer = optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, weight_decay=1e-4)
    schedule = optim.CosineAnnealingLR(optimizer, options.epochs * len(loader))

    @dt.trace
    def step(images: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        # The mean over the samples of all ranks, which is what one process would see.
        return dist.weighted_mean(loss, len(images))

    progress = ProgressLine(enabled=is_first)
    losses: list[float] = []
    for epoch in range(1, options.epochs + 1):
        loader.set_epoch(epoch)
        begin, waited = time.perf_counter(), exposed_time.seconds()
        for number, (images, labels) in enumerate(loader, 1):
            step_begin = time.perf_counter()
            losses.append(step(images, labels).item())
            schedule.step()
            step_seconds = time.perf_counter() - step_begin
            events.emit(events.Step(step=len(losses), seconds=step_seconds, values={"loss": losses[-1]}))
            progress.show(epoch, number, len(loader), losses[-1])
        seconds, exposed = time.perf_counter() - begin, exposed_time.seconds() - waited
        right = accuracy(model, test_set, options.batch_size)
        mean_loss = sum(losses[-len(loader) :]) / len(loader)
        measured = {"loss": mean_loss, "test_accuracy": right, "exposed_seconds": exposed}
        events.emit(events.Epoch(epoch=epoch, step=len(losses), seconds=seconds, values=measured))
        progress.clear()
        if is_first:
            if epoch == 1 and world.size > 1:
                print_bucket_plan(step, world)
            print(
                f"epoch {epoch:2}  step {len(losses):4}  loss {mean_loss:.4f}  test accuracy {right:.4f}  "
                f"{len(train_set) / seconds:7.0f} samples/s  "
                f"exposed communication {exposed / seconds:5.1%} of the step",
                flush=True,
            )
    if is_first:
        print(f"test accuracy {right:.4f} on {len(test_set)} held-out digits")
        if options.losses:
            with open(options.losses, "w", encoding="utf-8") as file:
                json.dump(losses, file)


if __name__ == "__main__":
    main()
