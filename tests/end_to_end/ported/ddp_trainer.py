"""Trains a small classifier with DistributedDataParallel: accumulation, clipping, warm-up, snapshots."""

import argparse
import os
import time
from contextlib import nullcontext

import numpy as np
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler


class SequenceDataset(Dataset):
    """Sequences of different lengths; the label says which half of the vocabulary is seen more."""

    def __init__(self, count, vocabulary, seed):
        rng = np.random.RandomState(seed)
        self.sequences = [torch.from_numpy(rng.randint(1, vocabulary, rng.randint(4, 12))) for _ in range(count)]
        self.labels = [int((s > vocabulary // 2).float().mean() > 0.5) for s in self.sequences]

    def __len__(self):
        return len(self.sequences)

    def __getitem__(self, index):
        return self.sequences[index], self.labels[index]


def collate(batch):
    sequences, labels = zip(*batch)
    lengths = torch.tensor([len(s) for s in sequences])
    padded = pad_sequence(sequences, batch_first=True, padding_value=0)
    return padded, lengths, torch.tensor(labels, dtype=torch.long)


class Classifier(nn.Module):
    def __init__(self, vocabulary, width, classes, dropout):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.body = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.LayerNorm(2 * width),
            nn.GELU(),
            nn.Dropout(p=dropout),
            nn.Linear(2 * width, width),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(width, classes)
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=0.5)
            with torch.no_grad():
                module.weight[module.padding_idx].fill_(0)

    def forward(self, tokens, lengths):
        mask = (torch.arange(tokens.size(1), device=tokens.device)[None, :] < lengths[:, None]).unsqueeze(-1)
        embedded = self.embedding(tokens) * mask
        mean = embedded.sum(dim=1) / lengths.unsqueeze(1).clamp(min=1).float()
        return self.head(self.body(mean))


class Trainer:
    def __init__(self, model, loader, test_loader, optimizer, scheduler, device, args):
        self.rank = dist.get_rank()
        self.local_rank = int(os.environ.get("LOCAL_RANK", 0))
        self.world_size = dist.get_world_size()
        self.device = device
        self.args = args
        self.loader, self.test_loader = loader, test_loader
        self.optimizer, self.scheduler = optimizer, scheduler
        self.model = model.to(device)
        self.epochs_run = 0
        self.use_amp = device.type == "cuda"
        self.scaler = torch.cuda.amp.GradScaler(enabled=self.use_amp)
        if os.path.exists(args.snapshot):
            self._load_snapshot(args.snapshot)
        self.model = DDP(self.model, device_ids=[self.local_rank] if device.type == "cuda" else None)

    def _load_snapshot(self, path):
        snapshot = torch.load(path, map_location=self.device)
        self.model.load_state_dict(snapshot["MODEL_STATE"])
        self.optimizer.load_state_dict(snapshot["OPTIMIZER_STATE"])
        self.scheduler.load_state_dict(snapshot["SCHEDULER_STATE"])
        self.epochs_run = snapshot["EPOCHS_RUN"]
        if self.rank == 0:
            print(f"Resuming training from snapshot at epoch {self.epochs_run}")

    def _save_snapshot(self, epoch):
        snapshot = {
            "MODEL_STATE": self.model.module.state_dict(),
            "OPTIMIZER_STATE": self.optimizer.state_dict(),
            "SCHEDULER_STATE": self.scheduler.state_dict(),
            "EPOCHS_RUN": epoch + 1,
        }
        torch.save(snapshot, self.args.snapshot)
        print(f"Epoch {epoch} | Training snapshot saved at {os.path.basename(self.args.snapshot)}")

    def _run_epoch(self, epoch):
        self.model.train()
        self.loader.sampler.set_epoch(epoch)
        total = torch.zeros(2, device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        for step, (tokens, lengths, labels) in enumerate(self.loader):
            tokens = tokens.to(self.device, non_blocking=True)
            lengths = lengths.to(self.device, non_blocking=True)
            labels = labels.to(self.device, non_blocking=True)
            last = (step + 1) % self.args.accumulate == 0 or step + 1 == len(self.loader)
            with nullcontext() if last else self.model.no_sync():
                with torch.autocast(device_type=self.device.type, enabled=self.use_amp):
                    logits = self.model(tokens, lengths)
                    loss = F.cross_entropy(logits, labels)
                self.scaler.scale(loss / self.args.accumulate).backward()
            total[0] += loss.item() * labels.size(0)
            total[1] += labels.size(0)
            if last:
                self.scaler.unscale_(self.optimizer)
                norm = clip_grad_norm_(self.model.parameters(), max_norm=self.args.clip)
                self.scaler.step(self.optimizer)
                self.scaler.update()
                self.scheduler.step()
                self.optimizer.zero_grad(set_to_none=True)
        dist.all_reduce(total, op=dist.ReduceOp.SUM)
        return (total[0] / total[1]).item(), norm.item()

    @torch.no_grad()
    def evaluate(self):
        self.model.eval()
        correct = torch.tensor(0, device=self.device)
        count = torch.tensor(0, device=self.device)
        for tokens, lengths, labels in self.test_loader:
            logits = self.model(tokens.to(self.device), lengths.to(self.device))
            prediction = logits.argmax(dim=-1)
            correct += (prediction == labels.to(self.device)).sum()
            count += labels.numel()
        dist.all_reduce(correct)
        dist.all_reduce(count)
        return correct.item() / count.item()

    def train(self, epochs):
        for epoch in range(self.epochs_run, epochs):
            start = time.time()
            loss, norm = self._run_epoch(epoch)
            accuracy = self.evaluate()
            if self.rank == 0:
                lr = self.scheduler.get_last_lr()[0]
                print(f"epoch {epoch} loss {loss:.6f} norm {norm:.4f} accuracy {accuracy:.4f} lr {lr:.6f}", flush=True)
                if self.args.verbose:
                    print(f"took {time.time() - start:.2f}s")
            if self.rank == 0 and epoch % self.args.save_every == 0:
                self._save_snapshot(epoch)
            dist.barrier()


def warmup(steps):
    def factor(step):
        return min(1.0, (step + 1) / steps)

    return factor


def parse():
    parser = argparse.ArgumentParser(description="simple distributed training job")
    parser.add_argument("--epochs", type=int, default=3, help="Total epochs to train the model")
    parser.add_argument("--save-every", type=int, default=1, help="How often to save a snapshot")
    parser.add_argument("--batch-size", type=int, default=24, help="Batch size of all processes together")
    parser.add_argument("--accumulate", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--snapshot", default="snapshot.pt")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


def main():
    args = parse()
    use_cuda = torch.cuda.is_available()
    dist.init_process_group(backend="nccl" if use_cuda else "gloo")
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local_rank) if use_cuda else torch.device("cpu")
    if use_cuda:
        torch.cuda.set_device(device)
    torch.manual_seed(1234)
    np.random.seed(1234)

    train_set, test_set = SequenceDataset(240, 40, seed=0), SequenceDataset(60, 40, seed=1)
    per_rank = args.batch_size // dist.get_world_size()
    loader = DataLoader(
        train_set,
        batch_size=per_rank,
        shuffle=False,
        pin_memory=use_cuda,
        collate_fn=collate,
        sampler=DistributedSampler(train_set, shuffle=True, seed=7),
    )
    test_loader = DataLoader(
        test_set, batch_size=per_rank, collate_fn=collate, sampler=DistributedSampler(test_set, shuffle=False)
    )
    model = Classifier(40, 16, 2, args.dropout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01)
    scheduler = LambdaLR(optimizer, lr_lambda=warmup(5))
    trainer = Trainer(model, loader, test_loader, optimizer, scheduler, device, args)
    if dist.get_rank() == 0:
        print(f"parameters: {sum(p.numel() for p in model.parameters() if p.requires_grad)}")
    trainer.train(args.epochs)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
