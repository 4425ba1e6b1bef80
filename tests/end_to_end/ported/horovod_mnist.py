"""Horovod: a small convolutional network on digit-like images, with resuming and metrics over all workers."""

import argparse
import math
import os

import numpy as np
import torch
import torch.backends.cudnn as cudnn
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
import torch.utils.data.distributed
import horovod.torch as hvd

parser = argparse.ArgumentParser(description="PyTorch MNIST Example", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
parser.add_argument("--batch-size", type=int, default=12, help="input batch size for training, of all workers")
parser.add_argument("--test-batch-size", type=int, default=30, help="input batch size for testing")
parser.add_argument("--batches-per-allreduce", type=int, default=2, help="batches processed locally before allreduce")
parser.add_argument("--epochs", type=int, default=3, help="number of epochs to train")
parser.add_argument("--base-lr", type=float, default=0.02, help="learning rate for a single worker")
parser.add_argument("--warmup-epochs", type=float, default=1, help="number of warmup epochs")
parser.add_argument("--momentum", type=float, default=0.5, help="SGD momentum")
parser.add_argument("--wd", type=float, default=0.00005, help="weight decay")
parser.add_argument("--no-cuda", action="store_true", default=False, help="disables CUDA training")
parser.add_argument("--seed", type=int, default=42, help="random seed")
parser.add_argument("--log-interval", type=int, default=5, help="batches to wait before logging training status")
parser.add_argument("--fp16-allreduce", action="store_true", default=False, help="use fp16 compression during allreduce")
parser.add_argument("--use-adasum", action="store_true", default=False, help="use adasum algorithm to do reduction")
parser.add_argument("--gradient-predivide-factor", type=float, default=1.0)
parser.add_argument("--checkpoint-format", default="./checkpoint-{epoch}.pth.tar", help="checkpoint file format")
parser.add_argument("--dropout", type=float, default=0.5)

args = parser.parse_args()
args.cuda = not args.no_cuda and torch.cuda.is_available()


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv1 = nn.Conv2d(1, 4, kernel_size=3)
        self.conv2 = nn.Conv2d(4, 8, kernel_size=3)
        self.conv2_drop = nn.Dropout2d(args.dropout)
        self.fc1 = nn.Linear(32, 16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = x.view(-1, 32)
        x = F.relu(self.fc1(x))
        x = F.dropout(x, args.dropout, training=self.training)
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)


class Digits(torch.utils.data.Dataset):
    """Ten blurred patterns and noise, as a folder of MNIST would give them."""

    def __init__(self, count, seed, transform=None):
        patterns = np.random.RandomState(0).rand(10, 1, 14, 14).astype(np.float32)
        rng = np.random.RandomState(seed)
        self.targets = torch.LongTensor(rng.randint(0, 10, count))
        self.data = torch.Tensor(patterns[self.targets.numpy()] + 0.3 * rng.randn(count, 1, 14, 14))
        self.transform = transform

    def __getitem__(self, index):
        image, target = self.data[index], int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        return image, target

    def __len__(self):
        return len(self.data)


class Metric(object):
    """Running average of a value over all workers."""

    def __init__(self, name):
        self.name = name
        self.sum = torch.tensor(0.0)
        self.n = torch.tensor(0.0)

    def update(self, val):
        self.sum += hvd.allreduce(val.detach().cpu(), name=self.name)
        self.n += 1

    @property
    def avg(self):
        return self.sum / self.n


def metric_average(val, name):
    tensor = val.clone().detach() if torch.is_tensor(val) else torch.tensor(val)
    avg_tensor = hvd.allreduce(tensor, name=name)
    return avg_tensor.item()


def accuracy(output, target):
    pred = output.max(1, keepdim=True)[1]
    return pred.eq(target.view_as(pred)).cpu().float().mean()


def adjust_learning_rate(epoch, batch_idx, loader, optimizer):
    if epoch < args.warmup_epochs:
        epoch += float(batch_idx + 1) / len(loader)
        lr_adj = 0.1 + 0.9 * epoch / args.warmup_epochs
    elif epoch < 2:
        lr_adj = 1.0
    else:
        lr_adj = 1e-1
    for param_group in optimizer.param_groups:
        param_group["lr"] = args.base_lr * args.batches_per_allreduce * lr_adj


def train(epoch, model, optimizer, loader, sampler):
    model.train()
    sampler.set_epoch(epoch)
    train_loss, train_accuracy = Metric("train_loss"), Metric("train_accuracy")
    for batch_idx, (data, target) in enumerate(loader):
        adjust_learning_rate(epoch, batch_idx, loader, optimizer)
        if args.cuda:
            data, target = data.cuda(), target.cuda()
        optimizer.zero_grad()
        for i in range(0, len(data), per_worker):
            data_batch = data[i : i + per_worker]
            target_batch = target[i : i + per_worker]
            output = model(data_batch)
            train_accuracy.update(accuracy(output, target_batch))
            loss = F.nll_loss(output, target_batch)
            train_loss.update(loss)
            loss.div_(math.ceil(float(len(data)) / per_worker))
            loss.backward()
        optimizer.step()
        if batch_idx % args.log_interval == 0 and hvd.rank() == 0:
            print(
                "Train Epoch: {} [{}/{} ({:.0f}%)]\tLoss: {:.6f}".format(
                    epoch, batch_idx * len(data), len(sampler), 100.0 * batch_idx / len(loader), train_loss.avg.item()
                )
            )
    if hvd.rank() == 0:
        print("epoch {} train loss {:.6f} accuracy {:.4f}".format(epoch, train_loss.avg.item(), train_accuracy.avg.item()))


def test(model, loader, sampler):
    model.eval()
    test_loss = 0.0
    test_accuracy = 0.0
    with torch.no_grad():
        for data, target in loader:
            if args.cuda:
                data, target = data.cuda(), target.cuda()
            output = model(data)
            # sum up batch loss
            test_loss += F.nll_loss(output, target, reduction="sum").item()
            # get the index of the max log-probability
            pred = output.data.max(1, keepdim=True)[1]
            test_accuracy += pred.eq(target.data.view_as(pred)).cpu().float().sum()
    test_loss /= len(sampler)
    test_accuracy /= len(sampler)
    test_loss = metric_average(test_loss, "avg_loss")
    test_accuracy = metric_average(test_accuracy, "avg_accuracy")
    if hvd.rank() == 0:
        print("Test set: Average loss: {:.6f}, Accuracy: {:.2f}%".format(test_loss, 100.0 * test_accuracy))


def save_checkpoint(epoch, model, optimizer):
    if hvd.rank() == 0:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, args.checkpoint_format.format(epoch=epoch + 1))


if __name__ == "__main__":
    hvd.init()
    torch.manual_seed(args.seed)
    if args.cuda:
        torch.cuda.set_device(hvd.local_rank())
        torch.cuda.manual_seed(args.seed)
    cudnn.benchmark = True
    # Horovod: limit # of CPU threads to be used per worker.
    torch.set_num_threads(1)

    resume_from_epoch = 0
    for try_epoch in range(args.epochs, 0, -1):
        if os.path.exists(args.checkpoint_format.format(epoch=try_epoch)):
            resume_from_epoch = try_epoch
            break
    resume_from_epoch = hvd.broadcast(torch.tensor(resume_from_epoch), root_rank=0, name="resume_from_epoch").item()

    per_worker = args.batch_size // hvd.size()
    kwargs = {"num_workers": 0, "pin_memory": True} if args.cuda else {}
    train_set = Digits(240, 1, transform=lambda image: (image - 0.5) / 0.3)
    train_sampler = torch.utils.data.distributed.DistributedSampler(train_set, num_replicas=hvd.size(), rank=hvd.rank())
    train_loader = torch.utils.data.DataLoader(
        train_set, batch_size=per_worker * args.batches_per_allreduce, sampler=train_sampler, **kwargs
    )
    test_set = Digits(60, 2, transform=lambda image: (image - 0.5) / 0.3)
    test_sampler = torch.utils.data.distributed.DistributedSampler(test_set, num_replicas=hvd.size(), rank=hvd.rank())
    test_loader = torch.utils.data.DataLoader(
        test_set, batch_size=args.test_batch_size, sampler=test_sampler, **kwargs
    )

    model = Net()
    if args.cuda:
        model.cuda()
    lr_scaler = args.batches_per_allreduce if not args.use_adasum else 1
    optimizer = optim.SGD(model.parameters(), lr=args.base_lr * lr_scaler, momentum=args.momentum, weight_decay=args.wd)
    compression = hvd.Compression.fp16 if args.fp16_allreduce else hvd.Compression.none
    optimizer = hvd.DistributedOptimizer(
        optimizer,
        named_parameters=model.named_parameters(),
        compression=compression,
        backward_passes_per_step=args.batches_per_allreduce,
        op=hvd.Adasum if args.use_adasum else hvd.Average,
        gradient_predivide_factor=args.gradient_predivide_factor,
    )
    if resume_from_epoch > 0 and hvd.rank() == 0:
        checkpoint = torch.load(args.checkpoint_format.format(epoch=resume_from_epoch))
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)

    for epoch in range(resume_from_epoch, args.epochs):
        train(epoch, model, optimizer, train_loader, train_sampler)
        test(model, test_loader, test_sampler)
        save_checkpoint(epoch, model, optimizer)
    hvd.shutdown()
