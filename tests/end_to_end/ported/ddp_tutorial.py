"""A multi-GPU tutorial in PyTorch's habits: DistributedDataParallel, a DistributedSampler, metrics by all_reduce.

The imports are those that docs/coming-from.md names; the rest is as it would stand over PyTorch's.
"""

# ruff: noqa

import argparse

import dtrain as torch
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import nn, optim
from dtrain.collectives import DistributedDataParallel as DDP
from dtrain.data import DataLoader, Dataset, Digits, DistributedSampler
from dtrain.optim.lr_scheduler import StepLR


class FlatDigits(Dataset):
    """The digits as vectors."""

    def __init__(self, train):
        self.digits = Digits(train=train)

    def __len__(self):
        return len(self.digits)

    def __getitem__(self, idx):
        image, label = self.digits[idx]
        return torch.from_numpy(image).view(-1), int(label)


class ToyModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.net1 = nn.Linear(64, 32)
        self.relu = nn.ReLU(inplace=True)
        self.net2 = nn.Linear(32, 10, bias=True)

    def forward(self, x):
        return self.net2(self.relu(self.net1(x)))


class Trainer:
    def __init__(self, model, train_data, optimizer, gpu_id, save_path):
        self.gpu_id = gpu_id
        self.model = DDP(model.to(gpu_id), device_ids=None)
        self.train_data = train_data
        self.optimizer = optimizer
        self.save_path = save_path

    def _run_batch(self, source, targets):
        self.optimizer.zero_grad(set_to_none=True)
        output = self.model(source)
        loss = F.cross_entropy(input=output, target=targets)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=5.0)
        self.optimizer.step()
        return loss.detach() * source.size(0), source.size(0)

    def _run_epoch(self, epoch):
        self.train_data.sampler.set_epoch(epoch)
        total = torch.zeros(2, dtype=torch.float64, device=self.gpu_id)
        for source, targets in self.train_data:
            loss, count = self._run_batch(source.to(self.gpu_id), targets.to(self.gpu_id))
            total[0] += loss.item()
            total[1] += count
        dist.all_reduce(total, op=dist.ReduceOp.SUM)
        return (total[0] / total[1]).item()

    def _save_checkpoint(self):
        torch.save(self.model.module.state_dict(), self.save_path)

    def train(self, max_epochs, scheduler):
        for epoch in range(max_epochs):
            mean = self._run_epoch(epoch)
            scheduler.step()
            if dist.get_rank() == 0:
                print(f"epoch {epoch} | loss {mean:.6f} | lr {scheduler.get_last_lr()[0]:.4g}", flush=True)
                self._save_checkpoint()


def evaluate(model, loader, device):
    model.eval()
    correct, seen = 0, 0
    with torch.no_grad():
        for data, target in loader:
            output = model(data.to(device))
            _, predicted = torch.max(output, 1)
            correct += (predicted == target.to(device)).sum().item()
            seen += target.size(0)
    result = torch.tensor([correct, seen])
    dist.all_reduce(result)
    return result[0].item() / result[1].item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--save", default="checkpoint.pt")
    args = parser.parse_args()

    dist.init_process_group(backend="nccl" if torch.cuda.is_available() else "gloo")
    local_rank = dist.get_node_local_rank()
    device = torch.device(f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)

    train_set, test_set = FlatDigits(train=True), FlatDigits(train=False)
    train_data = DataLoader(
        train_set,
        batch_size=args.batch_size,
        pin_memory=True,
        shuffle=False,
        sampler=DistributedSampler(train_set),
    )
    test_data = DataLoader(test_set, batch_size=64, sampler=DistributedSampler(test_set, shuffle=False))
    model = ToyModel()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = Trainer(model, train_data, optimizer, device, args.save)
    trainer.train(args.epochs, StepLR(optimizer, step_size=2, gamma=0.5))

    accuracy = evaluate(trainer.model, test_data, device)
    dist.barrier()
    fresh = ToyModel()
    fresh.load_state_dict(torch.load(args.save, map_location=device))
    same = all(torch.equal(a, b) for a, b in zip(fresh.parameters(), trainer.model.module.parameters()))
    print(
        f"rank {dist.get_rank()}/{dist.get_world_size()}: accuracy {accuracy:.4f}, saved as trained: {same}", flush=True
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
