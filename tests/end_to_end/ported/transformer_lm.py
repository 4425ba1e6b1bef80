"""Trains a Transformer language model on generated text, and continues a sentence with it."""

import argparse
import math
import os
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.nn import TransformerEncoder, TransformerEncoderLayer
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

parser = argparse.ArgumentParser(description="Transformer Language Model")
parser.add_argument("--emsize", type=int, default=16, help="size of word embeddings")
parser.add_argument("--nhid", type=int, default=32, help="number of hidden units per layer")
parser.add_argument("--nlayers", type=int, default=2, help="number of layers")
parser.add_argument("--nhead", type=int, default=2, help="the number of heads in the encoder")
parser.add_argument("--lr", type=float, default=0.01, help="initial learning rate")
parser.add_argument("--clip", type=float, default=0.5, help="gradient clipping")
parser.add_argument("--epochs", type=int, default=2, help="upper epoch limit")
parser.add_argument("--batch-size", type=int, default=12, help="batch size of all processes")
parser.add_argument("--bptt", type=int, default=10, help="sequence length")
parser.add_argument("--dropout", type=float, default=0.2, help="dropout applied to layers (0 = no dropout)")
parser.add_argument("--seed", type=int, default=1111, help="random seed")
parser.add_argument("--log-interval", type=int, default=5, help="report interval")
parser.add_argument("--save", type=str, default="model.pt", help="path to save the final model")
parser.add_argument("--words", type=int, default=8, help="number of words to generate")
args = parser.parse_args()


class Dictionary(object):
    def __init__(self):
        self.word2idx = {}
        self.idx2word = []

    def add_word(self, word):
        if word not in self.word2idx:
            self.idx2word.append(word)
            self.word2idx[word] = len(self.idx2word) - 1
        return self.word2idx[word]

    def __len__(self):
        return len(self.idx2word)


class Corpus(object):
    def __init__(self, lines, seed):
        self.dictionary = Dictionary()
        rng = np.random.RandomState(seed)
        subjects, verbs = ["dogs", "cats", "birds", "people"], ["see", "like", "chase", "hear"]
        idss = []
        for _ in range(lines):
            words = [str(rng.choice(subjects)), str(rng.choice(verbs)), str(rng.choice(subjects)), "<eos>"]
            ids = [self.dictionary.add_word(word) for word in words]
            idss.append(torch.tensor(ids).to(torch.int64))
        self.train = torch.cat(idss)


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, dropout=0.1, max_len=500):
        super(PositionalEncoding, self).__init__()
        self.dropout = nn.Dropout(p=dropout)
        pe = torch.zeros(max_len, d_model)
        position = torch.arange(0, max_len, dtype=torch.float).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2).float() * (-math.log(10000.0) / d_model))
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        pe = pe.unsqueeze(0).transpose(0, 1)
        self.register_buffer("pe", pe)

    def forward(self, x):
        x = x + self.pe[: x.size(0), :]
        return self.dropout(x)


class TransformerModel(nn.Module):
    """Container module with an encoder, a transformer, and a decoder. Sequences run along the first axis."""

    def __init__(self, ntoken, ninp, nhead, nhid, nlayers, dropout=0.5):
        super(TransformerModel, self).__init__()
        self.src_mask = None
        self.pos_encoder = PositionalEncoding(ninp, dropout)
        encoder_layers = TransformerEncoderLayer(ninp, nhead, nhid, dropout)
        self.transformer_encoder = TransformerEncoder(encoder_layers, nlayers)
        self.encoder = nn.Embedding(ntoken, ninp)
        self.ninp = ninp
        self.decoder = nn.Linear(ninp, ntoken)
        self.init_weights()

    def _generate_square_subsequent_mask(self, sz):
        mask = (torch.triu(torch.ones(sz, sz)) == 1).transpose(0, 1)
        mask = mask.float().masked_fill(mask == 0, float("-inf")).masked_fill(mask == 1, float(0.0))
        return mask

    def init_weights(self):
        initrange = 0.1
        nn.init.uniform_(self.encoder.weight, -initrange, initrange)
        nn.init.zeros_(self.decoder.bias)
        nn.init.uniform_(self.decoder.weight, -initrange, initrange)

    def forward(self, src, has_mask=True):
        if has_mask:
            device = src.device
            if self.src_mask is None or self.src_mask.size(0) != len(src):
                self.src_mask = self._generate_square_subsequent_mask(len(src)).to(device)
        else:
            self.src_mask = None
        src = self.encoder(src) * math.sqrt(self.ninp)
        src = self.pos_encoder(src)
        output = self.transformer_encoder(src, mask=self.src_mask)
        output = self.decoder(output)
        return F.log_softmax(output, dim=-1)


def get_lr(step, warmup=10):
    return min((step + 1) ** -0.5, (step + 1) * warmup**-1.5) * warmup**0.5


def main():
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    torch.backends.cudnn.deterministic = True

    corpus = Corpus(300, seed=5)
    ntokens = len(corpus.dictionary)
    windows = (corpus.train.size(0) - 1) // args.bptt
    usable = windows - windows % args.batch_size
    data = corpus.train.narrow(0, 0, usable * args.bptt).view(usable, args.bptt)
    targets = corpus.train[1 : usable * args.bptt + 1].view(usable, args.bptt)
    dataset = TensorDataset(data, targets)
    sampler = DistributedSampler(dataset, num_replicas=world_size, rank=rank, shuffle=True)
    loader = DataLoader(dataset, batch_size=args.batch_size // world_size, sampler=sampler, num_workers=0)

    model = TransformerModel(ntokens, args.emsize, args.nhead, args.nhid, args.nlayers, args.dropout).to(device)
    model = DistributedDataParallel(model, broadcast_buffers=False)
    criterion = nn.NLLLoss()
    decay = [p for n, p in model.named_parameters() if p.dim() >= 2]
    no_decay = [p for n, p in model.named_parameters() if p.dim() < 2]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": no_decay, "weight_decay": 0.0}]
    optimizer = optim.Adam(groups, lr=args.lr, betas=(0.9, 0.98), eps=1e-9)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, get_lr)

    def train(epoch):
        model.train()
        total_loss = 0.0
        start_time = time.time()
        sampler.set_epoch(epoch)
        for batch, (source, target) in enumerate(loader):
            source, target = source.t().contiguous().to(device), target.t().contiguous().to(device)
            optimizer.zero_grad()
            output = model(source)
            loss = criterion(output.view(-1, ntokens), target.reshape(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)
            optimizer.step()
            scheduler.step()
            total_loss += loss.item()
            if batch % args.log_interval == 0 and rank == 0 and time.time() - start_time > 60:
                print("| epoch {:3d} | {:5d}/{:5d} batches".format(epoch, batch, len(loader)))
        average = torch.tensor([total_loss / len(loader)], device=device)
        dist.all_reduce(average)
        average /= world_size
        return average.item()

    @torch.no_grad()
    def evaluate():
        model.eval()
        source, target = data.t().contiguous().to(device), targets.t().contiguous().to(device)
        output = model.module(source)
        return F.nll_loss(output.view(-1, ntokens), target.reshape(-1)).item()

    best_val_loss = None
    for epoch in range(1, args.epochs + 1):
        loss = train(epoch)
        val_loss = evaluate()
        if rank == 0:
            print("epoch {} train {:.6f} valid {:.6f} ppl {:.3f}".format(epoch, loss, val_loss, math.exp(val_loss)))
            if not best_val_loss or val_loss < best_val_loss:
                with open(args.save, "wb") as f:
                    torch.save(model.module.state_dict(), f)
                best_val_loss = val_loss
    dist.barrier()

    model = TransformerModel(ntokens, args.emsize, args.nhead, args.nhid, args.nlayers, args.dropout)
    with open(args.save, "rb") as f:
        model.load_state_dict(torch.load(f, map_location=device))
    model.eval()
    words = torch.tensor([[corpus.dictionary.word2idx["dogs"]]], dtype=torch.long).to(device)
    with torch.no_grad():
        for _ in range(args.words):
            output = model(words, has_mask=True)
            word = output[-1].squeeze().div(0.05).exp().cpu().argmax().item()
            words = torch.cat([words, torch.full((1, 1), word, dtype=torch.long)], 0)
    if rank == 0:
        print(" ".join(corpus.dictionary.idx2word[i] for i in words.squeeze(1).tolist()))
    dist.destroy_process_group()
    if rank == 0:
        os.remove(args.save)


if __name__ == "__main__":
    main()
