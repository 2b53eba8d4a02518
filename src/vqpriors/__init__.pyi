from vqpriors.generator import Generator as Generator
