<?php

// Two words, to measure with.
header('Content-Type: text/plain; charset=utf-8');
echo 'hello world';
