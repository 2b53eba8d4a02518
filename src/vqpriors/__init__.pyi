from vqpriors.inference.generator import Generator as Generator
