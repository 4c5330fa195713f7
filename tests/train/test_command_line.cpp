#include "train/command_line.h"

#include <gtest/gtest.h>

#include <sstream>

#include "engine/error.h"

namespace qstep {
namespace {

std::vector<std::string> words(const std::string& text) {
    std::istringstream stream(text);
    return {std::istream_iterator<std::string>(stream), {}};
}

CommandLine parse(const std::string& text) {
    return parse_command_line(words(text));
}

std::string usage_error(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::usage) << error.what();
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
        return error.what();
    }
    return "no error";
}

void expect_refused(const std::string& text, const std::string& part) {
    const std::string sentence = usage_error([&] { parse(text); });
    EXPECT_NE(sentence.find(part), std::string::npos) << text << ": " << sentence;
}

TEST(CommandLine, DefaultsAreTheOriginals) {
    const Options options = parse("").options;
    EXPECT_EQ(options.model, "resnet_20");
    EXPECT_EQ(options.codec.kind, CodecKind::none);
    EXPECT_EQ(options.codec.levels, 16);
    EXPECT_EQ(options.codec.bucket_size, 512);
    EXPECT_EQ(options.epochs, 200);
    EXPECT_EQ(options.batch_size, 64);
    EXPECT_EQ(options.lr, 0.1);
    EXPECT_EQ(options.momentum, 0.9);
    EXPECT_EQ(options.weight_decay, 1e-4);
    EXPECT_EQ(options.milestones, (std::vector<std::int64_t>{81, 122, 164}));
    EXPECT_EQ(options.optimizer, "standard");
}

TEST(CommandLine, TheOriginalsFiveLines) {
    const std::string start = "--model resnet_20 --optimizer quantization --quantization-type ";
    EXPECT_EQ(parse(start + "none").options.codec.kind, CodecKind::none);
    EXPECT_EQ(parse(start + "standard").options.codec.kind, CodecKind::standard);
    EXPECT_EQ(parse(start + "hadamard").options.codec.kind, CodecKind::hadamard);
    EXPECT_EQ(parse(start + "exponential").options.codec.kind, CodecKind::exponential);
    const Options smart = parse(start + "smart --bucket-size 51200").options;
    EXPECT_EQ(smart.codec.kind, CodecKind::smart);
    EXPECT_EQ(smart.codec.bucket_size, 51200);
    EXPECT_EQ(smart.optimizer, "quantization");
}

TEST(CommandLine, OriginalSpellings) {
    const CommandLine line =
        parse("--quantization-type standard --quantization-level 8 --no-cuda --save-model");
    EXPECT_EQ(line.options.codec.levels, 8);
    EXPECT_EQ(line.options.device, "cpu");
    EXPECT_TRUE(line.options.save_model);
    EXPECT_EQ(line.options.optimizer, "quantization");
}

TEST(CommandLine, EveryOption) {
    const Options options =
        parse(
            "--data d --model simple --quant smart --levels 4 --bucket-size -1 --rounding nearest "
            "--smart-candidates 2.5 --optimizer quantization --epochs 3 --batch-size=7 --test-batch-size 9 "
            "--lr "
            "1e-2 --momentum 0.5 --weight-decay 0 --nesterov --lr-schedule multistep --milestones 1,2 --seed "
            "18446744073709551615 --device cpu --precision bf16 --threads 2 --max-steps 5 --log-interval 4 "
            "--output o --save-every 0")
            .options;
    EXPECT_EQ(options.data, "d");
    EXPECT_EQ(options.codec.bucket_size, -1);
    EXPECT_EQ(options.codec.rounding, Rounding::nearest);
    EXPECT_EQ(options.codec.smart_candidates_percent, 2.5);
    EXPECT_EQ(options.batch_size, 7);
    EXPECT_EQ(options.test_batch_size, 9);
    EXPECT_EQ(options.lr, 0.01);
    EXPECT_TRUE(options.nesterov);
    EXPECT_EQ(options.milestones, (std::vector<std::int64_t>{1, 2}));
    EXPECT_EQ(options.seed, 18446744073709551615u);
    EXPECT_EQ(options.precision, DType::bf16);
    EXPECT_EQ(options.threads, 2);
    EXPECT_EQ(options.max_steps, 5);
    EXPECT_EQ(options.log_interval, 4);
    EXPECT_EQ(options.output, "o");
    EXPECT_EQ(options.save_every, 0);
}

TEST(CommandLine, ErrorFeedback) {
    EXPECT_FALSE(parse("--quant standard").options.codec.error_feedback);
    const CodecSettings plain = parse("--quant standard --error-feedback").options.codec;
    EXPECT_TRUE(plain.error_feedback);
    EXPECT_EQ(plain.ef_alpha, 1.0);
    EXPECT_EQ(plain.ef_beta, 1.0);
    const CodecSettings other =
        parse("--quant hadamard --error-feedback --ef-alpha .25 --ef-beta 0").options.codec;
    EXPECT_EQ(other.ef_alpha, 0.25);
    EXPECT_EQ(other.ef_beta, 0.0);
}

TEST(CommandLine, OptionsOfSingleCodecs) {
    EXPECT_EQ(parse("--quant qsgd").options.codec.qsgd_norm, Norm::l2);
    EXPECT_EQ(parse("--quant qsgd --qsgd-norm max").options.codec.qsgd_norm, Norm::max);
    EXPECT_EQ(parse("--quant standard --points random").options.codec.points, Points::random);
    const CodecSettings fixed = parse("--quant fixed --fixed-il 3 --fixed-fl 9").options.codec;
    EXPECT_EQ(fixed.fixed_il, 3);
    EXPECT_EQ(fixed.fixed_fl, 9);
    for (const char* codec : {"terngrad", "sign", "natural", "dorefa", "fixed"})
        EXPECT_STREQ(name_of(parse(std::string("--quant ") + codec).options.codec.kind), codec);
}

TEST(CommandLine, TheLastOfARepeatedOptionCounts) {
    const CommandLine line = parse("--lr 0.5 --quant standard --lr 0.25 --quant none --nesterov --nesterov");
    EXPECT_EQ(line.options.lr, 0.25);
    EXPECT_EQ(line.options.codec.kind, CodecKind::none);
    EXPECT_TRUE(line.options.nesterov);
}

TEST(CommandLine, HelpListsEveryOptionWithItsDefault) {
    const std::string help = parse("--help").help;
    for (const OptionSpec& spec : option_table()) {
        EXPECT_NE(help.find("--" + spec.name), std::string::npos) << spec.name;
        EXPECT_NE(help.find(spec.alias), std::string::npos) << spec.alias;
    }
    EXPECT_NE(help.find("[81,122,164]"), std::string::npos);
    EXPECT_NE(help.find("[0.0001]"), std::string::npos);
}

TEST(CommandLine, RefusesUnknownNames) {
    expect_refused("--modle simple", "did you mean --model?");
    expect_refused("--quantisation-type none", "did you mean --quantization-type?");
    expect_refused("--epoch=3", "did you mean --epochs?");
    expect_refused("train", "unexpected argument 'train'");
    expect_refused("-x", "unexpected argument '-x'");
    expect_refused("--quant standart", "standard");
    expect_refused("--rounding up", "nearest");
    expect_refused("--lr-schedule step", "multistep, cosine or onecycle");
    expect_refused("--optimizer adam", "standard or quantization");
    expect_refused("--precision fp16", "fp32, tf32 or bf16");
    expect_refused("--precision tf32 --device cpu", "for GPUs");
    expect_refused("--precision tf32 --no-cuda", "for GPUs");
    expect_refused("--device gpu", "unknown device 'gpu'");
}

TEST(CommandLine, RefusesBadValues) {
    expect_refused("--lr", "needs a value");
    expect_refused("--output --nesterov", "--nesterov is an option");
    expect_refused("--nesterov=maybe", "is a switch");
    expect_refused("--output \xff", "UTF-8");
    expect_refused("--lr --momentum 0.5", "--lr needs a value");
    expect_refused("--lr 0", "above 0");
    expect_refused("--lr nan", "--lr takes a number");
    expect_refused("--lr inf", "--lr takes a number");
    expect_refused("--lr 0.1x", "not '0.1x'");
    expect_refused("--momentum 1", "below 1");
    expect_refused("--momentum -0.1", "at least 0");
    expect_refused("--weight-decay -1", "at least 0");
    expect_refused("--epochs 0", "from 1 to");
    expect_refused("--epochs 1e3", "whole number");
    expect_refused("--epochs 99999999999999999999", "whole number");
    expect_refused("--batch-size -3", "from 1 to");
    expect_refused("--batch-size 0", "from 1 to");
    expect_refused("--test-batch-size 65537", "from 1 to 65536");
    expect_refused("--threads -1", "from 0 to");
    expect_refused("--max-steps -1", "at least 0");
    expect_refused("--log-interval 0", "at least 1");
    expect_refused("--save-every -1", "at least 0");
    expect_refused("--seed -1", "at least 0");
    expect_refused("--seed 18446744073709551616", "whole number");
    expect_refused("--milestones 2,1", "rising");
    expect_refused("--milestones 0,1", "rising");
    expect_refused("--milestones 1,", "rising");
    expect_refused("--milestones 1,,2", "rising");
    expect_refused("--levels two", "whole number");
    expect_refused("--quant standard --levels 1", "evel");
    expect_refused("--quant exponential --levels 5", "evel");
    expect_refused("--quant standard --bucket-size 0", "ucket");
    expect_refused("--quant smart --smart-candidates 0", "above 0");
    expect_refused("--smart-candidates 101", "at most 100");
    expect_refused("--quant standard --error-feedback --ef-alpha 1.5", "at most 1, not '1.5'");
    expect_refused("--quant standard --error-feedback --ef-beta x", "at most 1, not 'x'");
    EXPECT_NE(usage_error([] { parse_command_line({"--data", ""}); }).find("empty"), std::string::npos);
}

TEST(CommandLine, RefusesContradictions) {
    expect_refused("--momentum 0 --nesterov", "no meaning with --momentum 0");
    expect_refused("--lr=", "--lr was given an empty text");
    expect_refused("--quant terngrad --levels 4", "a choice of levels; terngrad is none");
    expect_refused("--optimizer standard --quant standard", "plain SGD");
    expect_refused("--optimizer quantization", "needs --quant");
    expect_refused("--lr-schedule cosine --milestones 1,2", "multistep");
    expect_refused("--no-cuda --device cuda", "contradict");
    expect_refused("--eval a --resume b", "contradict");
    expect_refused("--eval a --dump-step b", "--dump-step");
    expect_refused("--resume a --dump-step b", "--dump-step");
    expect_refused("--eval a --lr 0.1", "--lr has no meaning with --eval");
    expect_refused("--eval a --output o", "no meaning");
    expect_refused("--dump-step a --output o", "no meaning");
    expect_refused("--dump-step a --save-every 2", "no meaning");
    expect_refused("--resume a --output o", "no meaning");
    expect_refused("--error-feedback", "needs a codec");
    expect_refused("--quant standard --ef-alpha 0.5", "--ef-alpha has no meaning without --error-feedback");
    expect_refused("--quant standard --fixed-il 3", "--fixed-il has no meaning without --quant fixed");
    expect_refused("--quant qsgd --fixed-fl 3", "--fixed-fl has no meaning without --quant fixed");
    expect_refused("--quant terngrad --qsgd-norm max", "without --quant qsgd");
    expect_refused("--quant smart --points random", "without --quant standard");
    expect_refused("--quant standard --smart-candidates 5", "without --quant smart");
    expect_refused("--quant sign --levels 2", "without a codec that has a choice of levels");
    expect_refused("--quant sign --rounding nearest", "without a codec that draws");
    expect_refused("--quant fixed --fixed-il 9 --fixed-fl 8", "at most 16 in all, got 9 and 8");
    expect_refused("--quant qsgd --levels 2", "at least 3 levels");
    expect_refused("--quant standard --ef-beta 1", "--ef-beta has no meaning without --error-feedback");
    EXPECT_EQ(usage_error([] { parse("--optimizer standard --quant none"); }), "no error");
    EXPECT_EQ(usage_error([] { parse("--no-cuda --device cpu"); }), "no error");
}

TEST(CommandLine, WhatConcernsGpusAloneDoesNoHarmOnTheCpu) {
    const CommandLine line = parse("--device cpu --deterministic --no-graph --max-steps 3");
    EXPECT_TRUE(line.options.deterministic);
    EXPECT_TRUE(line.options.no_graph);
    EXPECT_EQ(resume_command("p", line, "f"), "p --resume f --max-steps 3 --deterministic --no-graph");
    EXPECT_TRUE(parse("--precision tf32 --device cuda").options.tf32);
}

TEST(CommandLine, ADumpTakesOneStepUnlessToldOtherwise) {
    EXPECT_EQ(parse("--dump-step f").options.max_steps, 1);
    EXPECT_EQ(parse("--dump-step f --max-steps 3").options.max_steps, 3);
    EXPECT_EQ(parse("").options.max_steps, 0);
}

TEST(Configuration, StoredOptionsComeBack) {
    const Options options =
        parse(
            "--quant smart --smart-candidates 0.1 --lr 0.3 --seed 18446744073709551615 --milestones 3,4 "
            "--nesterov "
            "--precision bf16 --rounding nearest --bucket-size -1 --output o --max-steps 3")
            .options;
    Options back;
    from_json(back, nlohmann::ordered_json::parse(to_json(options, Selection::stored).dump()));
    EXPECT_EQ(to_json(back, Selection::stored), to_json(options, Selection::stored));
    EXPECT_EQ(back.output, "");
    EXPECT_EQ(back.max_steps, 0);
}

TEST(Configuration, RefusesWhatItDidNotWrite) {
    auto stored = to_json(Options{}, Selection::stored);
    Options options;
    stored["lr"] = "fast";
    EXPECT_NE(usage_error([&] { from_json(options, stored); }).find("--lr"), std::string::npos);
    stored["lr"] = 0.1;
    stored["nesterov"] = "perhaps";
    EXPECT_EQ(usage_error([&] { from_json(options, stored); }), "--nesterov is a switch, not 'perhaps'");
    stored["nesterov"] = false;
    stored["more"] = 1;
    EXPECT_NE(usage_error([&] { from_json(options, stored); }).find("does not know"), std::string::npos);
    stored.erase("more");
    stored.erase("model");
    EXPECT_NE(usage_error([&] { from_json(options, stored); }).find("lacks 'model'"), std::string::npos);
    EXPECT_NE(usage_error([&] { from_json(options, 7); }).find("not an object"), std::string::npos);
}

TEST(Resume, StoredOptionsStayUnlessTheyMayChange) {
    const auto stored = to_json(
        parse("--model simple --quant standard --lr 0.2 --epochs 5 --threads 1").options, Selection::stored);
    const Options plain = options_for_resume(parse("--resume f"), stored);
    EXPECT_EQ(plain.model, "simple");
    EXPECT_EQ(plain.lr, 0.2);
    EXPECT_EQ(plain.codec.kind, CodecKind::standard);
    EXPECT_EQ(plain.optimizer, "quantization");
    EXPECT_EQ(plain.max_steps, 0);
    const Options changed = options_for_resume(
        parse("--resume f --epochs 9 --threads 2 --data other --max-steps 7 --lr 0.2 --no-cuda"), stored);
    EXPECT_EQ(changed.epochs, 9);
    EXPECT_EQ(changed.threads, 2);
    EXPECT_EQ(changed.data, "other");
    EXPECT_EQ(changed.max_steps, 7);
    EXPECT_EQ(changed.device, "cpu");
}

TEST(Resume, RefusesToChangeTheRun) {
    const auto stored = to_json(parse("--model simple --quant standard").options, Selection::stored);
    const auto refusal = [&](const std::string& text) {
        return usage_error([&] { options_for_resume(parse("--resume f " + text), stored); });
    };
    EXPECT_NE(refusal("--lr 0.3").find("cannot change it to 0.3"), std::string::npos);
    EXPECT_NE(refusal("--model resnet_20").find("made with --model simple"), std::string::npos);
    EXPECT_NE(refusal("--seed 4").find("--seed"), std::string::npos);
    EXPECT_NE(refusal("--quant none").find("--quant standard"), std::string::npos);
    EXPECT_NE(refusal("--error-feedback").find("made with --error-feedback false"), std::string::npos);
    EXPECT_NE(refusal("--ef-alpha 1").find("without --error-feedback"), std::string::npos);
    EXPECT_NE(refusal("--optimizer standard").find("--optimizer"), std::string::npos);
    const auto cosine = to_json(parse("--lr-schedule cosine --epochs 5").options, Selection::stored);
    EXPECT_NE(
        usage_error([&] { options_for_resume(parse("--resume f --epochs 6"), cosine); }).find("5 epochs"),
        std::string::npos);
}

TEST(Resume, Fp32AndTf32GoOnAsTheOther) {
    Options options;
    options.tf32 = true;
    const auto tf32 = to_json(options, Selection::stored);
    const Options back = options_for_resume(parse("--resume f --device cpu --precision fp32"), tf32);
    EXPECT_EQ(back.precision, DType::f32);
    EXPECT_FALSE(back.tf32);
    EXPECT_NE(usage_error([&] {
                  options_for_resume(parse("--resume f --precision bf16"), tf32);
              }).find("made with --precision tf32"),
              std::string::npos);
    EXPECT_NE(
        usage_error([&] { options_for_resume(parse("--resume f --device cpu"), tf32); }).find("for GPUs"),
        std::string::npos);
    const auto bf16 = to_json(parse("--precision bf16").options, Selection::stored);
    EXPECT_NE(usage_error([&] {
                  options_for_resume(parse("--resume f --precision fp32"), bf16);
              }).find("made with --precision bf16"),
              std::string::npos);
}

TEST(Evaluation, TakesTheModelFromTheFile) {
    const auto stored = to_json(parse("--model simple --precision bf16").options, Selection::stored);
    const Options options =
        options_for_evaluation(parse("--eval f --precision fp32 --test-batch-size 3"), stored);
    EXPECT_EQ(options.model, "simple");
    EXPECT_EQ(options.precision, DType::f32);
    EXPECT_EQ(options.test_batch_size, 3);
    EXPECT_NE(usage_error([&] {
                  options_for_evaluation(parse("--eval f --model alexnet"), stored);
              }).find("checkpoint of simple, not of alexnet"),
              std::string::npos);
}

TEST(ResumeCommand, HoldsWhatTheCheckpointDoesNot) {
    const CommandLine line = parse(
        "--model simple --lr 0.2 --max-steps 9 --save-every 3 --save-model --output o --log-interval 2");
    EXPECT_EQ(
        resume_command("./cifar train", line, "o/it's.safetensors"),
        "'./cifar train' --resume 'o/it'\\''s.safetensors' --max-steps 9 --log-interval 2 --save-every 3 "
        "--save-model");
    EXPECT_EQ(resume_command("", parse(""), "f"), "'' --resume f");
    EXPECT_EQ(resume_command("p", parse("--resume old --max-steps 9"), "f"), "p --resume f --max-steps 9");
}

}  // namespace
}  // namespace qstep
