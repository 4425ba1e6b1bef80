"""A language model in PyTorch's habits: embeddings, positions, an encoder with a causal mask, a schedule by lambda."""

# ruff: noqa

import argparse
import math
import time

import dtrain as torch
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import nn
from dtrain.collectives import DistributedDataParallel as DDP

TEXT = (
    "the quick brown fox jumps over the lazy dog while the five boxing wizards jump quickly and "
    "pack my box with five dozen liquor jugs before the quick onyx goblin jumps over the lazy dwarf "
) * 8


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, dropout=0.1, max_len=64):
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        position = torch.arange(max_len).unsqueeze(1).float()
        div_term = torch.exp(torch.arange(0, d_model, 2).float() * (-math.log(10000.0) / d_model))
        angles = position * div_term
        pe = torch.stack([torch.sin(angles), torch.cos(angles)], dim=2).flatten(start_dim=1)
        self.register_buffer("pe", pe.unsqueeze(0))

    def forward(self, x):
        return self.dropout(x + self.pe[:, : x.size(1)])


class Block(nn.Module):
    def __init__(self, d_model, nhead, d_hid, dropout):
        super().__init__()
        self.nhead = nhead
        self.norm1 = nn.LayerNorm(d_model, eps=1e-5)
        self.norm2 = nn.LayerNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, d_hid), nn.GELU(), nn.Dropout(dropout), nn.Linear(d_hid, d_model))

    def forward(self, x, mask):
        b, t, c = x.size()
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        q, k, v = (z.view(b, t, self.nhead, c // self.nhead).transpose(1, 2).contiguous() for z in (q, k, v))
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(q.size(-1))
        scores = scores.masked_fill(mask[:t, :t], float("-inf"))
        y = F.softmax(scores, dim=-1).matmul(v)
        x = x + self.out(y.transpose(1, 2).contiguous().view(b, t, c))
        return x + self.ff(self.norm2(x))


class TransformerModel(nn.Module):
    def __init__(self, ntoken, d_model, nhead, d_hid, nlayers, dropout=0.0):
        super().__init__()
        self.pos_encoder = PositionalEncoding(d_model, dropout)
        self.encoder = nn.Embedding(ntoken, d_model)
        self.blocks = nn.ModuleList([Block(d_model, nhead, d_hid, dropout) for _ in range(nlayers)])
        self.norm = nn.LayerNorm(d_model)
        self.decoder = nn.Linear(d_model, ntoken, False)
        self.decoder.weight = self.encoder.weight  # tied
        self.d_model = d_model
        self.register_buffer("mask", torch.triu(torch.ones(64, 64), diagonal=1).bool(), persistent=False)
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=0.1)

    def forward(self, src):
        x = self.pos_encoder(self.encoder(src) * math.sqrt(self.d_model))
        for block in self.blocks:
            x = block(x, self.mask)
        return self.decoder(self.norm(x))

    @torch.no_grad()
    def generate(self, idx, max_new_tokens):
        for _ in range(max_new_tokens):
            logits = self(idx[:, -32:])[:, -1, :]
            probs = F.softmax(logits, dim=-1)
            next_token = torch.argmax(probs, dim=-1, keepdim=True)
            idx = torch.cat((idx, next_token), dim=1)
        return idx


def get_batch(source, i, bptt, rows):
    starts = torch.tensor([(i * rows + r) % (len(source) - bptt - 1) for r in range(rows)])
    data = torch.stack([source[s : s + bptt] for s in starts.tolist()])
    target = torch.stack([source[s + 1 : s + 1 + bptt] for s in starts.tolist()])
    return data, target.reshape(-1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=8, help="of all ranks together")
    parser.add_argument("--accumulate", type=int, default=2)
    args = parser.parse_args()

    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(1234)
    vocab = sorted(set(TEXT))
    stoi = {ch: i for i, ch in enumerate(vocab)}
    source = torch.tensor([stoi[ch] for ch in TEXT], dtype=torch.long)

    model = TransformerModel(len(vocab), 32, 4, 64, 2)
    if rank == 0:
        print(f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,} parameters", flush=True)
    model = DDP(model, find_unused_parameters=False)
    decay = [p for p in model.parameters() if p.dim() >= 2]
    no_decay = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": no_decay, "weight_decay": 0.0}],
        lr=3e-3,
        betas=(0.9, 0.95),
        fused=False,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda=lambda step: min(1.0, (step + 1) / 4))
    criterion = nn.CrossEntropyLoss()

    rows = args.batch_size // world_size
    first = last = None
    for step in range(args.steps):
        model.train()
        start = time.time()
        optimizer.zero_grad()
        total = 0.0
        for micro in range(args.accumulate):
            data, target = get_batch(source, (step * args.accumulate + micro) * world_size + rank, 24, rows)
            is_last = micro == args.accumulate - 1
            if is_last:
                loss = criterion(model(data).view(-1, len(vocab)), target) / args.accumulate
                loss.backward()
            else:
                with model.no_sync():
                    loss = criterion(model(data).view(-1, len(vocab)), target) / args.accumulate
                    loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        mean = torch.tensor(total)
        dist.all_reduce(mean, op=dist.ReduceOp.AVG)
        last = mean.item()
        first = first if first is not None else last
        if rank == 0 and step % 4 == 0:
            print(
                f"step {step} | loss {last:.4f} | ppl {math.exp(last):8.2f} | {time.time() - start:.3f} s", flush=True
            )

    model.eval()
    out = model.module.generate(source[:8].view(1, -1), 8)
    assert out.shape == torch.Size([1, 16])
    print(f"rank {rank}/{world_size}: first {first:.6f}, last {last:.6f}, ids {out[0, 8:].tolist()}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
